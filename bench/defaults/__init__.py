"""What the defaults are worth: accuracy beside methods whose settings were looked for."""
