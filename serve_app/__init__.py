"""The only HTTP: API ingress, model deployments, dashboard, command line."""
