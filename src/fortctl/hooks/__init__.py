"""Run what an operator asked for when something happens: hooks and notifications (adapters)."""
