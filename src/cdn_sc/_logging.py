"""The package's one logger."""

import logging

logger = logging.getLogger("cdn_sc")
logger.addHandler(logging.NullHandler())
