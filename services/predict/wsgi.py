"""The application that gunicorn serves."""

from services.predict.app import create_app
from services.predict.settings import Settings

app = create_app(Settings.from_environment())
