"""What was asked, what happened, and when: collected from tasks and events, drawn as SVG, written as a report."""
