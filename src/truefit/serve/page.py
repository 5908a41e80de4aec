"""The page that explains the service, made from its OpenAPI description. It fetches nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }
code, pre { font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); margin-top: 1.5rem; }
label { display: block; margin: .6rem 0; }
input, button { font: inherit; max-width: 100%; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.2rem; }
"""

_SCRIPT = """
document.getElementById("try").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, shown = document.getElementById("answer");
  const key = form.elements.key ? form.elements.key.value : "";
  const body = new FormData();
  if (form.elements.image.files[0]) body.append("image", form.elements.image.files[0]);
  try {
    const answer = await fetch("predict", {method: "POST", body, headers: key ? {Authorization: "Bearer " + key} : {}});
    shown.textContent = answer.status + "\\n" + JSON.stringify(await answer.json(), null, 2);
  } catch (error) { shown.textContent = String(error); }
});
"""

_TEMPLATE = Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ api.info.title }}</title><style>{{ style | safe }}</style>
<h1>{{ api.info.title }}</h1>
<p>{{ api.info.description }} The description for machines: <a href="openapi.json">openapi.json</a>.</p>
<h2>Try it</h2>
<form id="try">
<label>An image <input type="file" name="image" accept="image/*" required></label>
{% if with_key %}<label>Key <input type="password" name="key" autocomplete="off"></label>{% endif %}
<button>Classify</button>
</form>
<pre id="answer" aria-live="polite">curl {% if with_key %}-H 'Authorization: Bearer KEY' {% endif -%}
-F image=@photo.jpg THIS_ADDRESS/predict</pre>
{% for path, methods in api.paths.items() %}{% for method, what in methods.items() %}
<section><h2><code>{{ method | upper }} {{ path }}</code></h2>
<p>{{ what.summary }}{% if what.security %}; needs the key{% endif %}.</p>
<dl>{% for status, answer in what.responses.items() %}<dt>{{ status }}</dt><dd>{{ answer.description }}</dd>{% endfor %}
</dl></section>
{% endfor %}{% endfor %}
</html>
"""
)


def page(api: dict[str, Any], *, with_key: bool) -> tuple[str, str]:
    """The page, and the Content-Security-Policy under which it works. api: the OpenAPI description."""
    policy = f"default-src 'none'; connect-src 'self'; style-src '{_hash(_STYLE)}'; script-src '{_hash(_SCRIPT)}'"
    text = _TEMPLATE.render(api=api, with_key=with_key, style=_STYLE)
    return text.replace("</html>", f"<script>{_SCRIPT}</script>\n</html>"), policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
