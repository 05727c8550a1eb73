"""Times of schedules: cron expressions with a time zone."""
