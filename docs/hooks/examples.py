"""Put the examples of the repository into the site, so that links to them work in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FOLDER = "examples"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the folder beside `docs`."""
    folder = Path(config.config_file_path).parent / FOLDER
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        files.append(File.generated(config, f"{FOLDER}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links: the folder is beside `docs` in the repository, and inside of it in the site."""
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        return markdown.replace("](../docs/", "](../")
    return markdown.replace(f"](../{FOLDER}/", f"]({FOLDER}/")
