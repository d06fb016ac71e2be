"""Experiment tracking: what the journals of runs say, shown in MLflow. The only importer of mlflow."""
