"""Memory policies at equal budgets, judged on videos whose every answer is known."""
