"""Input rules: which texts are refused before they reach the model, and the messages of all refusals.

Messages are in French unless the request prefers English, as clients of the
contract expect.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from werkzeug.http import parse_accept_header

MAX_CHARACTERS = 2_000
MAX_TEXTS = 1_000

Language = Literal["fr", "en"]

_MESSAGES: dict[str, dict[Language, str]] = {
    "blank": {
        "fr": "Le texte ne peut pas être vide.",
        "en": "The text must not be empty.",
    },
    "number": {
        "fr": "Le texte ne peut pas être un nombre.",
        "en": "The text must not be a number.",
    },
    "string_too_long": {
        "fr": f"Le texte ne peut pas dépasser {MAX_CHARACTERS} caractères.",
        "en": f"The text must not be longer than {MAX_CHARACTERS} characters.",
    },
    "string_type": {
        "fr": "Le texte doit être une chaîne de caractères.",
        "en": "The text must be a string.",
    },
    "bool_type": {
        "fr": "La valeur doit être true ou false.",
        "en": "The value must be true or false.",
    },
    "list_type": {"fr": "Une liste est attendue.", "en": "A list is expected."},
    "too_short": {
        "fr": "La liste ne peut pas être vide.",
        "en": "The list must not be empty.",
    },
    "too_long": {
        "fr": f"La liste ne peut pas dépasser {MAX_TEXTS} textes.",
        "en": f"The list must not have more than {MAX_TEXTS} texts.",
    },
    "missing": {"fr": "Champ obligatoire.", "en": "Field required."},
    "extra_forbidden": {"fr": "Champ inconnu.", "en": "Unknown field."},
    "json_invalid": {
        "fr": "Le corps de la requête doit être du JSON en UTF-8.",
        "en": "The body must be JSON in UTF-8.",
    },
    "object_type": {
        "fr": "Un objet JSON est attendu.",
        "en": "A JSON object is expected.",
    },
    "label_unknown": {
        "fr": "Le label n'est pas un de ceux du modèle.",
        "en": "The label is not one of the model's.",
    },
    "too_large": {
        "fr": "Le corps de la requête est trop grand.",
        "en": "The body is too large.",
    },
    "line_too_long": {
        "fr": "La ligne est trop longue.",
        "en": "The line is too long.",
    },
    "stream_encoded": {
        "fr": "Un flux ne peut pas être compressé.",
        "en": "A stream cannot be compressed.",
    },
    "encoding_unknown": {
        "fr": "Cet encodage (Content-Encoding) n'est pas pris en charge : utilisez gzip, deflate ou aucun.",
        "en": "This Content-Encoding is not supported: use gzip, deflate, or none.",
    },
    "encoding_damaged": {
        "fr": "Le corps compressé est endommagé ou incomplet.",
        "en": "The compressed body is damaged or incomplete.",
    },
    "too_many": {
        "fr": "Trop de requêtes à la fois.",
        "en": "Too many requests at once.",
    },
    "too_slow": {
        "fr": "Le modèle n'a pas répondu à temps.",
        "en": "The model did not answer in time.",
    },
    "body_too_slow": {
        "fr": "La requête arrive trop lentement.",
        "en": "The request arrives too slowly.",
    },
    "http_invalid": {
        "fr": "La requête n'est pas du HTTP valide.",
        "en": "The request is not valid HTTP.",
    },
    "head_too_large": {
        "fr": "L'en-tête de la requête est trop grand.",
        "en": "The head of the request is too large.",
    },
    "url_too_long": {
        "fr": "L'adresse de la requête est trop longue.",
        "en": "The address of the request is too long.",
    },
    "too_many_connections": {
        "fr": "Trop de connexions à la fois.",
        "en": "Too many connections at once.",
    },
    "too_many_bodies": {
        "fr": "Le serveur reçoit trop de données à la fois.",
        "en": "The server is receiving too much data at once.",
    },
    "too_many_values": {
        "fr": "Le corps de la requête contient trop de valeurs.",
        "en": "The body has too many values.",
    },
    "away": {
        "fr": "Le modèle n'est pas disponible.",
        "en": "The model is not available.",
    },
    "no_log": {
        "fr": "Le journal n'est pas disponible.",
        "en": "The prediction log is not available.",
    },
    "log_away": {
        "fr": "Le label n'a pas pu être enregistré : le journal des prédictions ne répond pas.",
        "en": "The label could not be stored: the prediction log does not respond.",
    },
    "record_away": {
        "fr": "Le journal des prédictions ne répond pas.",
        "en": "The prediction log does not respond.",
    },
    "not_recorded": {
        "fr": "La réponse n'a pas pu être enregistrée ; réessayez.",
        "en": "The answer could not be recorded; try again.",
    },
    "no_key": {
        "fr": "Une clé d'accès valide est requise.",
        "en": "A valid access key is required.",
    },
    "unknown_prediction": {"fr": "Prédiction inconnue.", "en": "Unknown prediction."},
    "other_label": {
        "fr": "Cette prédiction a déjà un autre label.",
        "en": "This prediction already has another label.",
    },
    "label_config": {
        "fr": "La configuration d'étiquetage doit avoir des choix dont les valeurs sont les labels du modèle.",
        "en": "The labelling configuration must have choices whose values are the labels of the model.",
    },
    "not_assigned": {
        "fr": "Cette prédiction n'est pas, ou plus, attribuée à cette personne.",
        "en": "This prediction is not assigned to this person, or no longer.",
    },
    "parameter": {"fr": "Valeur non valable.", "en": "Invalid value."},
    "too_many_steps": {
        "fr": "La période doit avoir de 0 à 500 pas.",
        "en": "The span must have 0 to 500 steps.",
    },
    "gone": {"fr": "Le client est parti.", "en": "The client has left."},
    "failed": {"fr": "Erreur interne.", "en": "Internal error."},
}

# Signs and separators in numbers: ASCII, typographic, Arabic and full-width. White space is matched by its category.
_IN_NUMBERS = frozenset("+-−±﹢﹣＋－" + ".,'’_·٫٬，．")
# Invisible characters whose Unicode category is that of a letter, a mark or a symbol.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}


@dataclass(frozen=True)
class Refusal:
    """Why a text is not passed to the model.

    Attributes
    ----------
    status : int
        HTTP status if the request contains only this text.
    code : str
        Key of the message.
    """

    status: int
    code: str

    def message(self, language: Language) -> str:
        """The message in the given language."""
        return _MESSAGES[self.code][language]


# Nearly every text contains one early on; only the others need the loop over Unicode categories.
_LETTER = re.compile("[A-Za-z]")
_NOT_A_STRING = Refusal(422, "string_type")
_TOO_LONG = Refusal(422, "string_too_long")
_BLANK = Refusal(400, "blank")
_NUMBER = Refusal(400, "number")


def refuse(text: object) -> Refusal | None:
    """Check whether `text` may be passed to the model.

    Parameters
    ----------
    text : object
        The value sent as the text.

    Returns
    -------
    Refusal or None
        None if it is a string of 1 to 2,000 characters with at least one visible
        character, and not just a number. A number is digits of any script with
        signs, separators and white space around and between them.
    """
    if not isinstance(text, str):
        return _NOT_A_STRING
    if len(text) > MAX_CHARACTERS:
        return _TOO_LONG
    if _LETTER.search(text):
        return None
    visible, digits = False, False
    for character in text:
        if character in _IN_NUMBERS:
            visible = True
            continue
        category = unicodedata.category(character)
        if category[0] == "N":
            visible = digits = True
        elif category not in ("Cc", "Cf", "Zs", "Zl", "Zp") and character not in _INVISIBLE:
            return None
    if digits:
        return _NUMBER
    return None if visible else _BLANK


def message(code: str, language: Language) -> str:
    """The message for a refusal's code."""
    return _MESSAGES[code][language]


@lru_cache(maxsize=256)
def language_of(accept_language: str | None) -> Language:
    """English if `Accept-Language` prefers it to French, otherwise French.

    Parameters
    ----------
    accept_language : str or None
        The header's value (RFC 9110, 12.5.4); an invalid one counts as absent.
    """
    weights: dict[str, float] = {}
    for tag, quality in parse_accept_header((accept_language or "")[:500]):
        language = tag.lower().partition("-")[0]  # `best_match` would take en;q=0.5 before fr-CA
        weights[language] = max(quality, weights.get(language, 0.0))
    return "en" if weights.get("en", 0.0) > weights.get("fr", weights.get("*", 0.0)) else "fr"
