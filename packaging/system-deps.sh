#!/usr/bin/env bash
# Checks what the window needs from the system: Python's venv, Qt's libraries, a Chinese font.
# Installs it with apt where it may (root, or sudo without a password); otherwise prints the exact command and goes on
# or stops, depending on whether the program could start without it.
# Usage: system-deps.sh [--test]    --test: also a virtual screen and a Chromium for the tests
set -u

want_screen=0
[ "${1:-}" = "--test" ] && want_screen=1

libraries="libEGL.so.1 libGL.so.1 libxkbcommon.so.0 libdbus-1.so.3 libfontconfig.so.1 libglib-2.0.so.0 libxcb-cursor.so.0
libxkbcommon-x11.so.0 libxcb-icccm.so.4 libxcb-image.so.0 libxcb-keysyms.so.1 libxcb-randr.so.0 libxcb-render-util.so.0
libxcb-shape.so.0"
apt_libraries="libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 libxcb-cursor0 libxkbcommon-x11-0
libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0"
dnf_libraries="mesa-libEGL mesa-libGL libxkbcommon dbus-libs fontconfig glib2 xcb-util-cursor libxkbcommon-x11
xcb-util-wm xcb-util-image xcb-util-keysyms libxcb xcb-util-renderutil"
pacman_libraries="libglvnd libxkbcommon dbus fontconfig glib2 xcb-util-cursor libxkbcommon-x11 xcb-util-wm xcb-util-image
xcb-util-keysyms libxcb xcb-util-renderutil"

[ "$(uname -s)" = "Linux" ] || exit 0

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Qwen Workbench needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
    echo "Install it, or name another one: make run PYTHON=python3.12" >&2
    exit 1
fi

known=$( (PATH="$PATH:/sbin:/usr/sbin" ldconfig -p) 2>/dev/null)
needs_libraries=0
for library in $libraries; do
    case "$known" in *"$library"*) ;; *) needs_libraries=1 ;; esac
done
needs_venv=0
"$python" -c 'import venv, ensurepip' 2>/dev/null || needs_venv=1
needs_font=0
fc-list :lang=zh 2>/dev/null | grep -q . || needs_font=1
needs_screen=0
[ "$want_screen" = 1 ] && ! command -v Xvfb >/dev/null && needs_screen=1

needs_browser=$want_screen
for browser in chromium-headless-shell chromium chromium-browser google-chrome-stable google-chrome; do
    command -v $browser >/dev/null && needs_browser=0
done

[ $((needs_libraries + needs_venv + needs_font + needs_screen + needs_browser)) = 0 ] && exit 0

apt_wanted="" dnf_wanted="" pacman_wanted=""
if [ $needs_venv = 1 ]; then
    apt_wanted="python3-venv" dnf_wanted="python3" pacman_wanted="python"
fi
if [ $needs_libraries = 1 ]; then
    apt_wanted="$apt_wanted $apt_libraries" dnf_wanted="$dnf_wanted $dnf_libraries"
    pacman_wanted="$pacman_wanted $pacman_libraries"
fi
if [ $needs_font = 1 ]; then
    apt_wanted="$apt_wanted fontconfig fonts-noto-cjk" dnf_wanted="$dnf_wanted fontconfig google-noto-sans-cjk-fonts"
    pacman_wanted="$pacman_wanted fontconfig noto-fonts-cjk"
fi
if [ $needs_screen = 1 ]; then
    apt_wanted="$apt_wanted xvfb" dnf_wanted="$dnf_wanted xorg-x11-server-Xvfb"
    pacman_wanted="$pacman_wanted xorg-server-xvfb"
fi
if [ $needs_browser = 1 ]; then
    apt_wanted="$apt_wanted chromium-headless-shell" dnf_wanted="$dnf_wanted chromium-headless"
    pacman_wanted="$pacman_wanted chromium"
fi
apt_wanted=$(echo $apt_wanted) dnf_wanted=$(echo $dnf_wanted) pacman_wanted=$(echo $pacman_wanted)

as_root=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n"; else as_root="no"; fi
fi

if command -v apt-get >/dev/null && [ "$as_root" != no ]; then
    echo "Installing from Debian's packages: $apt_wanted"
    $as_root apt-get update -qq
    # Not every Debian-like system has it; the tests of the web page are then skipped.
    apt-cache show chromium-headless-shell >/dev/null 2>&1 || apt_wanted=${apt_wanted%chromium-headless-shell}
    if [ -z "$apt_wanted" ] || DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq \
        --no-install-recommends $apt_wanted >/dev/null; then
        exit 0
    fi
    echo "That did not work." >&2
fi

{
    echo "Some system packages are missing. Please run:"
    if command -v apt-get >/dev/null; then
        echo "  sudo apt-get install $apt_wanted"
    elif command -v dnf >/dev/null; then
        echo "  sudo dnf install $dnf_wanted"
    elif command -v pacman >/dev/null; then
        echo "  sudo pacman -S --needed $pacman_wanted"
    else
        echo "  (with your system's package manager) the packages that Debian calls: $apt_wanted"
    fi
} >&2
# Without venv or Qt's libraries nothing can start; without a font, a screen or a browser the rest still works.
[ $((needs_venv + needs_libraries)) = 0 ]
