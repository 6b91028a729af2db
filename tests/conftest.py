"""What every test may use. Fixtures that import something heavy do so when they are asked for."""

pytest_plugins = ["tests.fixtures_process", "tests.fixtures_wandb"]
