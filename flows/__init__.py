"""Prefect flows: when, where and again. The only place that imports prefect."""
