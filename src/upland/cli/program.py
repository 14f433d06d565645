"""The whole program: the application with all its commands."""

from upland.cli import alarms as alarms
from upland.cli import cards as cards
from upland.cli import commands as commands
from upland.cli import exporting as exporting
from upland.cli import reporting_page as reporting_page
from upland.cli import serving as serving
from upland.cli import watching as watching
from upland.cli.app import EXIT_CODES, app, main

__all__ = ["EXIT_CODES", "app", "main"]
