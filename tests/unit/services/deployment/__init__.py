"""Tests of services.deployment."""
