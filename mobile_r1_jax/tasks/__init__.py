"""What is asked of the agent: tasks, the suites that they are drawn from, and the progress that a phone reports."""
