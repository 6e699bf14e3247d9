"""Every method at one budget: series → board (columns, claims) → text."""
