"""What this gateway accepts and emits, as documents for other programs: AsyncAPI 3.0 and JSON Schema."""
