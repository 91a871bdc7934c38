"""Tasks for the agent, suites of tasks, and the progress that a phone reports."""
