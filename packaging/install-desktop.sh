#!/usr/bin/env bash
# Puts an entry with our icon into the user's applications menu: install-desktop.sh /path/to/qwen-workbench
set -eu
command=$1
here=$(cd "$(dirname "$0")" && pwd)
data=${XDG_DATA_HOME:-$HOME/.local/share}
mkdir -p "$data/applications" "$data/icons/hicolor/scalable/apps"
cp "$here/../resources/icons/qwen-workbench.svg" "$data/icons/hicolor/scalable/apps/qwen-workbench.svg"
sed "s|@COMMAND@|$command|" "$here/qwen-workbench.desktop" > "$data/applications/qwen-workbench.desktop.part"
mv "$data/applications/qwen-workbench.desktop.part" "$data/applications/qwen-workbench.desktop"
command -v update-desktop-database >/dev/null && update-desktop-database -q "$data/applications" || true
echo "Qwen Workbench is in your applications menu now ($data/applications/qwen-workbench.desktop)."
