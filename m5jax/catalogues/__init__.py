"""Where listings come from: the schema, its files, other layouts, and the embedded catalogue."""
