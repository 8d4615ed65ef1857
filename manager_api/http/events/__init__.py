"""What was decided and done."""
