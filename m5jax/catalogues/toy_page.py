"""A page to look at the embedded catalogue (catalogues/toy.py) from disk: no script, relative links."""

from typing import Any

import jinja2

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The embedded catalogue</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --quiet: #777; --odd: #c2410c; }
  body { font: 14px/1.45 system-ui, sans-serif; max-width: 1280px; margin: 2rem auto; padding: 0 1rem; }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(232px, 1fr)); gap: 1rem; }
  article { border: 1px solid var(--line); border-radius: 10px; padding: .9rem; display: flex;
            flex-direction: column; gap: .6rem; }
  h1 { margin: 0 0 .25rem; } h2 { font-size: 1rem; margin: 0; }
  .media { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; }
  .media > * { width: 100%; aspect-ratio: 1; }
  img, video, .none { border-radius: 6px; box-sizing: border-box; }
  .none { display: grid; place-items: center; min-height: 32px; border: 1px dashed var(--line); }
  .none, small, th { color: var(--quiet); } .none, small, table { font-size: 12px; }
  audio { width: 100%; height: 32px; }
  table { border-collapse: collapse; width: 100%; } th, td { text-align: left; border-top: 1px solid var(--line); }
  th { font-weight: normal; width: 45%; } small { margin-top: auto; } strong { color: var(--odd); }
</style>
<h1>The embedded catalogue</h1>
<p>{{ shown | length }} of {{ total }} listings, as a seller would show them; in small print what they are.</p>
<main>
{%- for row, truth in shown %}
<article id="{{ row.id }}">
  <div class="media">
    {%- for image in row.images %}
    <img src="{{ image.path }}" alt="" loading="lazy">{% else %}<span class="none">no picture</span>{% endfor %}
    {%- for video in row.videos %}
    <video src="{{ video.path }}" controls autoplay muted loop playsinline></video>
    {%- else %}<span class="none">no video</span>{% endfor %}
  </div>
  {%- for audio in row.audios %}
  <audio src="{{ audio.path }}" controls preload="none"></audio>{% else %}<span class="none">no sound</span>{% endfor %}
  {% if row.title is none %}<span class="none">no title</span>{% else %}<h2>{{ row.title }}</h2>{% endif %}
  {% if row.attributes is none %}<span class="none">no table</span>{% else %}<table>
    {%- for name, value in row.attributes %}<tr><th>{{ name }}<td>{{ value }}{% endfor %}</table>{% endif %}
  <small>{{ row.id }} · {{ row.split }} · {{ truth.product.id }}<br>
    {{ truth.product.category }}: {{ truth.product.colour }}, {{ truth.product.maker }},
    {{ truth.product.material }}, {{ truth.product.motion }}, {{ truth.product.pitch }} Hz
    {%- if truth.title_of %}<br><strong>title of {{ truth.title_of }}</strong>{% endif %}
    {%- if truth.picture_of %}<br><strong>picture of {{ truth.picture_of }}</strong>{% endif %}</small>
</article>
{%- endfor %}
</main>
</html>
"""


def render(shown: list[tuple[dict[str, Any], dict[str, Any]]], total: int) -> str:
    """The page for some (catalogue row, ground truth) pairs out of `total` listings; all text is escaped."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    return template.render(shown=shown, total=total)
