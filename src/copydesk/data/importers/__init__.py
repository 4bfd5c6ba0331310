"""Where rows to import come from: files, data sets, products, a git history."""
