#!/usr/bin/env bash
# Sourced by ./dev and .ci/run, which set `root`: finds and installs what tools/packages.txt names.

# nvcc_path: CUDA's compiler, which its packages leave off PATH; nothing where there is none.
nvcc_path() {
  command -v nvcc || { [[ ! -x /usr/local/cuda/bin/nvcc ]] || echo /usr/local/cuda/bin/nvcc; }
}

# missing_packages GROUP...: a line for each failing probe: its Debian packages, the Homebrew one last.
missing_packages() {
  local group probe debian brew wanted=" $* " found choice
  while read -r group probe debian brew; do
    [[ $wanted == *" $group "* ]] || continue
    found=
    local IFS='|'
    for choice in ${probe#pc:}; do
      case $probe in
        /*) if [[ -e $choice ]]; then found=1; fi ;;
        pc:*) if pkg-config --exists "$choice" 2>/dev/null; then found=1; fi ;;
        *) if command -v "$choice" >/dev/null 2>&1; then found=1; fi ;;
      esac
    done
    unset IFS
    [[ $found ]] || echo "${debian//,/ } $brew"
  done < <(grep -v '^#' "${root:?}/tools/packages.txt")
}

# need GROUP...: installs as root or through sudo without a question; else prints the line to type and fails.
need() {
  local debian=() brew=() names last
  while read -ra names; do
    debian+=("${names[@]:0:${#names[@]}-1}")
    last=${names[${#names[@]} - 1]} # macOS has bash 3.2
    [[ $last == - ]] || brew+=("$last")
  done < <(missing_packages "$@")
  ((${#debian[@]})) || return 0
  if [[ $(uname) == Darwin ]]; then
    [[ ${#brew[@]} -eq 0 ]] && { echo "dev: install Apple's command line tools: xcode-select --install" >&2; return 1; }
    echo "dev: something is missing; type this, then run ./dev again:" >&2
    echo "  brew install ${brew[*]}" >&2
    return 1
  fi
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "dev: these are missing (Debian's names; install your system's): ${debian[*]}" >&2
    return 1
  fi
  local as=()
  if [[ $(id -u) != 0 ]]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      as=(sudo)
    else
      echo "dev: something is missing; type this, then run ./dev again:" >&2
      echo "  sudo apt-get install -y --no-install-recommends ${debian[*]}" >&2
      return 1
    fi
  fi
  echo "dev: installing ${debian[*]}"
  [[ ${debian[*]} != *:arm64* ]] || ${as[@]+"${as[@]}"} dpkg --add-architecture arm64
  ${as[@]+"${as[@]}"} apt-get update -qq
  ${as[@]+"${as[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${debian[@]}" >/dev/null
}
