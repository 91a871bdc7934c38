"""A guard below the policy: it looks at the page before each action, and refuses what is risky."""
