"""The page of suites that train (kind `train`): a section a task, nothing averaged over tasks. `build` puts it together."""
