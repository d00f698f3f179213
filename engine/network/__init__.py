"""Network variants, one file each. A file here is the whole job of adding one (see CONTRIBUTING.md)."""
