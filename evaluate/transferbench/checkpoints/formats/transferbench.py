"""Our own `backbone.safetensors`: canonical names and a Card in the header."""

import json
from collections.abc import Mapping

from transferbench import settings
from transferbench.checkpoints import Card
from transferbench.checkpoints.formats import ROOT, EncoderSpec, Layout
from transferbench.checkpoints.save import HEADER
from transferbench.errors import UserError


def card(header: Mapping[str, str]) -> Card:
    """The card in a file's header.

    Raises:
        UserError: when it is not one this version understands.
    """
    try:
        return settings.read(Card, json.loads(header[HEADER])["card"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"The card in the file's header is damaged ({error}). Copy the file again.") from None


LAYOUTS = (Layout(encoders=(EncoderSpec(at=(ROOT,)),), header=HEADER, card=card),)
