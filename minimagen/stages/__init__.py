"""The stages of the pipeline: each reads its section of the parameters, builds, calls and writes."""
