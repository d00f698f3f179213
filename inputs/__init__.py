"""The texts: those that ship, the catalogue of well-known ones, and how any text is read, fetched and checked."""
