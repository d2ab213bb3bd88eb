"""The field's tables: what was published beside what was found here, chance, and controls."""
