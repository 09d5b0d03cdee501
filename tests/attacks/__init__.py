"""The tests that are attacks: ``@pytest.mark.attack(what was done, what is promised)``, and the table of what came of each."""
