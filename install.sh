#!/bin/sh
# Installs, upgrades and removes the HIDPS agent on a Linux host with systemd.
#
#   sudo ./install.sh --agent-id <id>
#   curl -fsS https://hidps.example.org/install.sh | sudo sh -s -- --agent-id <id>
#
# `--help` has every option and exit code. Everything happens in main, which is called by the last
# line; that line also closes the brace opened here, so that half a download is no script at all.
{
set -eu

# The daemon writes its own address here when it serves this file.
SERVED_BACKEND_URL=''

NAME=hidps-agent
ACCOUNT=hidps-agent
BIN_DIR=/usr/local/bin
UNIT_DIR=/etc/systemd/system
DROP_INS=$UNIT_DIR/$NAME.service.d
CONFIG_DIR=/etc/hidps
STATE_DIR=/var/lib/hidps-agent
UFW_DIR=/etc/ufw
PACKAGED_BIN=/usr/bin/hidps-agent
# There from a run's first change to its end; what it holds is the start of the agent before that.
BEGUN=$UNIT_DIR/$NAME.hidps-begun
WAIT_SECONDS=30

# Exit codes; --help lists them.
FAILED=1 USAGE=2 NOT_ROOT=3 UNSUPPORTED=4 NO_SOURCE=5 NO_DOWNLOAD=6 WRONG_CHECKSUM=7 CONFLICT=8
NOT_REGISTERED=9 NOT_APPROVED=10 NOT_STARTED=11 NOT_WRITTEN=12

usage() {
  cat <<'USAGE'
Usage: install.sh --agent-id <id> [options]
       install.sh --upgrade [options]
       install.sh --uninstall [--purge]

  --agent-id ID        id of the agent's row; asked for on the first installation only
  --backend-url URL    address of the daemon (HIDPS_BACKEND_URL); known already when the daemon
                       served this script, or when it runs on this host
  --token-file FILE    file with the enrollment token, or - for standard input. The variable
                       HIDPS_TOKEN does as well. Never an argument: every user can read those.
                       Without a token an admin approves the agent, unless its row is fresh
  --ca-file FILE       certificate authority of the daemon, where it is one of your own
  --client-cert FILE, --client-key FILE
                       certificate that the agent shows the daemon, and its key, as PEM files; they
                       are copied, and given again they take the place of those that are there
  --allow-plaintext    speak plaintext to a daemon on another machine; for tests alone
  --bin FILE           install this program instead of downloading one; one beside this script is
                       taken by itself
  --sha256 HEX         refuse a program with another checksum
  --version VERSION    refuse a program of another version
  --with-ufw           let the agent filter by ufw, for which it has to run as root, with few of
                       root's rights; a first installation takes it by itself where ufw is enabled
  --with-file-actors   let the agent tell who changes watched files, which takes CAP_SYS_ADMIN
  --without-ufw, --without-file-actors
                       do not, and take it back
  --upgrade            take the program and unit anew, keep configuration and state
  --no-start           do not start the agent now
  --no-enable          do not start it at every boot
  --dry-run            print every action, change nothing
  --uninstall          stop the agent, take back its firewall rules, remove program and unit
  --purge              with --uninstall: also remove configuration, key, state and user
  -y, --yes            never ask; nothing here asks, so that this changes nothing
  -h, --help           print this

Exit codes: 0 done; 1 something unforeseen; 2 wrong arguments; 3 not root; 4 this host cannot run
the agent; 5 no daemon or program to install from is known; 6 the download failed; 7 the checksum
is wrong; 8 it contradicts what is installed; 9 the agent runs, but has not reached the daemon yet;
10 the agent waits for an admin's approval; 11 the agent does not start, and its files are as they
were before; 12 a file could not be written.
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
  code=$1
  shift
  printf 'install.sh: %s\n' "$*" >&2
  exit "$code"
}
has() { command -v "$1" >/dev/null 2>&1; }

# Does something, or says that it would. Its output is nobody's business unless it fails.
act() {
  what=$1
  shift
  if [ "$DRY_RUN" = 1 ]; then
    say "would $what"
    return 0
  fi
  "$@" || fail "$NOT_WRITTEN" "could not $what"
}

main() {
  read_arguments "$@"
  WORK=
  CHANGED=0
  UNDO=0
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  check_root
  if [ "$MODE" = uninstall ]; then
    uninstall
    return 0
  fi
  check_host
  find_installation
  settle
  find_agent_id
  find_backend
  if [ "$DRY_RUN" = 0 ]; then
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/hidps-install.XXXXXX") ||
      fail "$NOT_WRITTEN" "no temporary directory can be made in ${TMPDIR:-/tmp}; check its space"
    check_work
  fi
  read_token
  obtain_program
  install_program
  install_account
  install_configuration
  install_unit
  install_drop_ins
  start_agent
  report
}

# The program is run there once before it is installed.
check_work() {
  if ! printf '#!/bin/sh\n' >"$WORK/probe" || ! chmod 700 "$WORK/probe"; then
    fail "$NOT_WRITTEN" "nothing can be written into ${TMPDIR:-/tmp}; check its space"
  fi
  if ! "$WORK/probe" 2>/dev/null; then
    fail "$NOT_WRITTEN" "no program can be run in ${TMPDIR:-/tmp}, which is mounted noexec or kept" \
      "from it otherwise; name a directory for root alone where one can, as by TMPDIR=/root"
  fi
}

clean_up() {
  status=$?
  trap - EXIT
  # What was written so far does not belong together.
  if [ "$UNDO" = 1 ] && [ "$status" != 0 ]; then
    undo || printf 'install.sh: %s\n' "$stuck" >&2
    printf 'install.sh: put back:%s\n' "${undone:- nothing}" >&2
  fi
  if [ -n "$WORK" ]; then
    rm -rf "$WORK"
    sweep
  fi
  exit "$status"
}

read_arguments() {
  MODE=install AGENT_ID='' BACKEND_URL='' TOKEN_FILE='' CA_FILE='' CLIENT_CERT='' CLIENT_KEY=''
  PLAINTEXT=0 BIN='' SHA256='' VERSION='' PURGE=0 DRY_RUN=0 START=1 ENABLE=1 WITH_UFW='' WITH_FILE_ACTORS=''
  while [ $# -gt 0 ]; do
    case $1 in
      --*=*)
        argument=$1
        shift
        set -- "${argument%%=*}" "${argument#*=}" "$@"
        continue
        ;;
      --agent-id | --backend-url | --token-file | --ca-file | --client-cert | --client-key | --bin | \
        --sha256 | --version)
        if [ $# -lt 2 ] || [ -z "$2" ]; then
          fail "$USAGE" "$1 needs a value; --help says which"
        fi
        eval "$(printf '%s' "${1#--}" | tr 'a-z-' 'A-Z_')=\$2"
        shift
        ;;
      --token) fail "$USAGE" "a token is never an argument; use --token-file or HIDPS_TOKEN" ;;
      --allow-plaintext) PLAINTEXT=1 ;;
      --upgrade) MODE=upgrade ;;
      --uninstall) MODE=uninstall ;;
      --purge) PURGE=1 ;;
      --with-ufw) WITH_UFW=1 ;;
      --without-ufw) WITH_UFW=0 ;;
      --with-file-actors) WITH_FILE_ACTORS=1 ;;
      --without-file-actors) WITH_FILE_ACTORS=0 ;;
      --no-start) START=0 ;;
      --no-enable) ENABLE=0 ;;
      --dry-run) DRY_RUN=1 ;;
      -y | --yes) ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) fail "$USAGE" "$1 is not an option; --help lists them" ;;
    esac
    shift
  done
  if [ "$PURGE" = 1 ] && [ "$MODE" != uninstall ]; then
    fail "$USAGE" "--purge goes with --uninstall"
  fi
  check_text "$AGENT_ID" '0-9a-fA-F-' "--agent-id is not the id of an agent's row, a UUID"
  check_text "$VERSION" '0-9A-Za-z.+-' "--version is not a version"
  check_text "$SHA256" '0-9a-fA-F' "--sha256 is not a SHA-256 in hexadecimal"
  case ${CLIENT_CERT:+1}${CLIENT_KEY:+1} in
    1) fail "$USAGE" "--client-cert and --client-key go together" ;;
  esac
  for path in "$CA_FILE" "$CLIENT_CERT" "$CLIENT_KEY" "$BIN"; do
    if [ -n "$path" ] && [ ! -f "$path" ]; then
      fail "$USAGE" "$path is not a file"
    fi
  done
}

# Refuses a text with other characters than these; it goes into files and addresses.
check_text() {
  # A shell drops the ends of lines at the end of what a command printed; the dot keeps them.
  left=$(printf '%s' "$1" | tr -d "$2" && echo .)
  if [ "$left" != . ]; then
    fail "$USAGE" "$3"
  fi
}

check_root() {
  if [ "$(id -u)" != 0 ] && [ "$DRY_RUN" = 0 ]; then
    fail "$NOT_ROOT" "only root can do this; run it with sudo"
  fi
}

check_host() {
  if [ "$(uname -s)" != Linux ]; then
    fail "$UNSUPPORTED" "the agent runs on Linux only"
  fi
  case $(uname -m) in
    x86_64 | amd64) ARCH=x86_64 ;;
    aarch64 | arm64) ARCH=aarch64 ;;
    *) fail "$UNSUPPORTED" "there is no agent for $(uname -m), only for x86_64 and aarch64" ;;
  esac
  if ! has systemctl; then
    fail "$UNSUPPORTED" "this host has no systemd, which keeps the agent running"
  fi
  SYSTEMD=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  if [ "${SYSTEMD:-0}" -lt 219 ]; then
    fail "$UNSUPPORTED" "systemd ${SYSTEMD:-?} is too old for the agent's unit; 219 is the oldest"
  fi
  # In an image that is being built there is no systemd to talk to.
  if [ ! -d /run/systemd/system ]; then
    if [ "$START" = 1 ] && [ "$DRY_RUN" = 0 ]; then
      fail "$UNSUPPORTED" "systemd does not run here; --no-start installs for the next boot"
    fi
  fi
}

# What is here already: as a package, by this script, or not at all.
find_installation() {
  TARGET=$BIN_DIR/$NAME
  PACKAGED=0
  if [ -x "$PACKAGED_BIN" ] && has dpkg-query &&
    dpkg-query -W -f='${Status}' "$NAME" 2>/dev/null | grep -q '^install ok installed'; then
    PACKAGED=1
    TARGET=$PACKAGED_BIN
  fi
  UNIT=$UNIT_DIR/$NAME.service
  CERTIFICATE=$CONFIG_DIR/agent.crt
  SETTINGS="$CONFIG_DIR/agent.toml $CONFIG_DIR/ca.pem $CERTIFICATE $CERTIFICATE.key $CONFIG_DIR/token"
  FILES="$TARGET $UNIT $DROP_INS/ufw.conf $DROP_INS/file-actors.conf $SETTINGS"
  if [ "$MODE" = upgrade ]; then
    if [ "$PACKAGED" = 1 ]; then
      fail "$CONFLICT" "the agent is installed as a package; upgrade it with: apt-get install $NAME"
    fi
    if [ ! -x "$TARGET" ]; then
      fail "$CONFLICT" "there is no agent to upgrade; install one with --agent-id"
    fi
  fi
  if [ "$PACKAGED" = 1 ] && [ -n "$BIN$VERSION$SHA256" ]; then
    fail "$CONFLICT" "the agent is installed as a package, which brings its own program"
  fi
}

# The value of a key of the configuration that is there.
configured() {
  if [ -r "$CONFIG_DIR/agent.toml" ]; then
    sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\"\([^\"]*\)\".*/\1/p" \
      "$CONFIG_DIR/agent.toml" | head -n 1
  fi
}

# What a package brings says nothing yet: all of it is comments.
has_configuration() {
  [ -e "$CONFIG_DIR/agent.toml" ] &&
    grep -q '^[[:space:]]*[^#[:space:]]' "$CONFIG_DIR/agent.toml"
}

find_agent_id() {
  existing=$(configured agent_id)
  IS_FIRST=0
  wanted=$(printf '%s' "$AGENT_ID" | tr 'A-F' 'a-f')
  if [ -n "$existing" ]; then
    if [ -n "$wanted" ] && [ "$wanted" != "$(printf '%s' "$existing" | tr 'A-F' 'a-f')" ]; then
      fail "$CONFLICT" "this host is the agent $existing already; --uninstall --purge forgets that"
    fi
    AGENT_ID=$existing
    return 0
  fi
  if has_configuration; then
    fail "$CONFLICT" "$CONFIG_DIR/agent.toml has no agent_id; write it there, or remove the file"
  fi
  IS_FIRST=1
  if [ -z "$wanted" ]; then
    fail "$USAGE" "--agent-id is missing; the row of the agent has it"
  fi
  case $wanted in
    ????????-????-????-????-????????????) AGENT_ID=$wanted ;;
    *) fail "$USAGE" "--agent-id is not the id of an agent's row, a UUID" ;;
  esac
}

find_backend() {
  existing=$(configured backend_url)
  asked=${BACKEND_URL:-${HIDPS_BACKEND_URL:-}}
  if [ -n "$existing" ]; then
    if [ -n "$asked" ] && [ "$(trim_url "$asked")" != "$(trim_url "$existing")" ]; then
      fail "$CONFLICT" "$CONFIG_DIR/agent.toml has the daemon $existing; change it there"
    fi
    BACKEND_URL=$existing
    shown="$(configured client_cert) $(configured client_key)"
    case ${CLIENT_CERT:+$shown} in
      '' | ' ' | "$CERTIFICATE $CERTIFICATE.key") ;;
      *) fail "$CONFLICT" "$CONFIG_DIR/agent.toml has $shown; renew these files themselves" ;;
    esac
    if grep -q '^[[:space:]]*allow_plaintext[[:space:]]*=[[:space:]]*true' \
      "$CONFIG_DIR/agent.toml"; then
      PLAINTEXT=1
    fi
    if [ -z "$CA_FILE" ]; then
      CA_FILE=$(configured ca_file)
    fi
  else
    BACKEND_URL=${asked:-$SERVED_BACKEND_URL}
    if [ -z "$BACKEND_URL" ] && is_daemon http://127.0.0.1:8443; then
      check_listener
      BACKEND_URL=http://127.0.0.1:8443
      say "the daemon runs on this host: $BACKEND_URL"
    fi
  fi
  if [ -z "$BACKEND_URL" ]; then
    fail "$NO_SOURCE" "where is the daemon? add --backend-url https://<its address>"
  fi
  check_backend
}

trim_url() { printf '%s' "$1" | sed -e 's|^wss:|https:|' -e 's|^ws:|http:|' -e 's|/*$||'; }

check_backend() {
  BACKEND_URL=$(trim_url "$BACKEND_URL")
  check_text "$BACKEND_URL" '][0-9A-Za-z.:/_-' "the daemon's address has characters no address has"
  case $BACKEND_URL in
    https://?*) ;;
    http://127.0.0.1 | http://127.0.0.1[:/]* | http://localhost | http://localhost[:/]*) ;;
    'http://[::1]' | 'http://[::1]'[:/]*) ;;
    http://?*)
      if [ "$PLAINTEXT" = 0 ]; then
        fail "$USAGE" "$BACKEND_URL is plaintext, which anybody on the way can read and change; use https://"
      fi
      ;;
    *) fail "$USAGE" "the daemon's address begins with https://, not as in $BACKEND_URL" ;;
  esac
}

# Refuses a daemon on this host that just any user may have started: its program would run as root.
check_listener() {
  for owner in $(list_listeners); do
    case $owner in
      0 | "${SUDO_UID:-0}" | "$(id -u hidpsd 2>/dev/null)") ;;
      *)
        fail "$NO_SOURCE" "what listens at 127.0.0.1:8443 belongs to the user $owner; if that is" \
          "the daemon, add --backend-url http://127.0.0.1:8443"
        ;;
    esac
  done
}

# The users whose sockets listen at port 8443.
list_listeners() {
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ place _ state _ _ _ owner _; do
    case $place/$state in
      *:20FB/0A) say "$owner" ;;
    esac
  done
}

is_daemon() { [ "$(fetch "$1/" 20 - 2>/dev/null)" = hidpsd ]; }

# Fetches into a file, or prints, within so many seconds; nothing but the named address is asked, no
# redirection is followed.
fetch() {
  if has curl; then
    curl -fsS --connect-timeout 20 --max-time "$2" ${CA_FILE:+--cacert "$CA_FILE"} -o "$3" "$1"
  elif has wget; then
    check_wget
    wget -q -T 60 --max-redirect=0 ${CA_FILE:+--ca-certificate="$CA_FILE"} -O "$3" "$1"
  else
    fail "$NO_DOWNLOAD" "neither curl nor wget is here; install one, or use --bin"
  fi
}

# Some are small and go wherever they are sent, to plaintext as well.
check_wget() {
  if ! wget --help 2>&1 | grep -q -e '--max-redirect'; then
    fail "$NO_DOWNLOAD" "this wget cannot be kept from following redirections; install curl, or" \
      "use --bin"
  fi
}

sha256_of() {
  if has sha256sum; then
    sha256sum "$1" | cut -d ' ' -f 1
  elif has openssl; then
    openssl dgst -sha256 -r "$1" | cut -d ' ' -f 1
  else
    fail "$UNSUPPORTED" "neither sha256sum nor openssl is here to check the program with"
  fi
}

# The token stays in this shell and in one file of root's.
read_token() {
  TOKEN=${HIDPS_TOKEN:-}
  if [ "$TOKEN_FILE" = - ]; then
    if [ "$0" = sh ] || [ "$0" = dash ] || [ "$0" = bash ]; then
      fail "$USAGE" "standard input is this script; use --token-file <file> or HIDPS_TOKEN"
    fi
    read -r TOKEN || [ -n "$TOKEN" ] || fail "$USAGE" "standard input has no token"
  elif [ -n "$TOKEN_FILE" ]; then
    if [ ! -r "$TOKEN_FILE" ]; then
      fail "$USAGE" "the token file $TOKEN_FILE cannot be read"
    fi
    read -r TOKEN <"$TOKEN_FILE" || [ -n "$TOKEN" ] || fail "$USAGE" "$TOKEN_FILE has no token"
  fi
  unset HIDPS_TOKEN
  check_text "$TOKEN" '!-~' "the token has characters that no token has"
}

# Leads to a program in $PROGRAM that is checked, or leaves it empty when the installed one is it.
obtain_program() {
  PROGRAM=
  if [ "$PACKAGED" = 1 ]; then
    return 0
  fi
  if [ -z "$BIN" ]; then
    find_beside
  fi
  if [ -n "$BIN" ]; then
    take_local_program
  else
    download_program
  fi
  if [ -n "$PROGRAM" ] && [ "$DRY_RUN" = 0 ]; then
    check_program
  fi
}

# Takes a program beside this script. A script that came by a pipe has no place: what lies in the
# working directory is anybody's, and so is what somebody else put into a directory for all.
find_beside() {
  beside=$(dirname "$0")/$NAME
  case $0 in
    *.sh) ;;
    *) return 0 ;;
  esac
  if [ ! -f "$0" ] || [ ! -f "$beside" ]; then
    return 0
  fi
  case $(stat -c %u "$beside") in
    0 | "$(stat -c %u "$0")") BIN=$beside ;;
    *) say "passed over: $beside, which is somebody else's; --bin takes it nevertheless" ;;
  esac
}

take_local_program() {
  wanted=$SHA256
  if [ -z "$wanted" ] && [ -f "$BIN.sha256" ]; then
    wanted=$(cut -d ' ' -f 1 <"$BIN.sha256")
  fi
  found=$(sha256_of "$BIN")
  compare_checksum "$wanted" "$found" "$BIN"
  if [ -f "$TARGET" ] && [ "$(sha256_of "$TARGET")" = "$found" ]; then
    say "the program is installed already"
    return 0
  fi
  if [ "$DRY_RUN" = 1 ]; then
    PROGRAM=$BIN
    return 0
  fi
  # A copy, so that what was checked is what is installed.
  PROGRAM=$WORK/$NAME
  cp "$BIN" "$PROGRAM" || fail "$NOT_WRITTEN" "could not copy $BIN; check the space of $WORK"
  compare_checksum "$found" "$(sha256_of "$PROGRAM")" "the copy of $BIN"
}

download_program() {
  address=$BACKEND_URL/agent/$ARCH/$NAME
  if [ "$DRY_RUN" = 1 ]; then
    say "would download $address and check it against $address.sha256"
    PROGRAM=$address
    return 0
  fi
  published=$(fetch "$address.sha256" 20 -) ||
    fail "$NO_DOWNLOAD" "$address.sha256 could not be fetched; is HIDPS_AGENT_DIR set for the daemon?"
  published=$(printf '%s' "$published" | head -n 1 | cut -d ' ' -f 1)
  case $published in
    *[!0-9a-f]* | '') fail "$NO_DOWNLOAD" "$address.sha256 is no checksum" ;;
  esac
  if [ -n "$SHA256" ]; then
    compare_checksum "$SHA256" "$published" "the daemon's program"
  fi
  if [ -f "$TARGET" ] && [ "$(sha256_of "$TARGET")" = "$published" ]; then
    say "the program is installed already"
    return 0
  fi
  PROGRAM=$WORK/$NAME
  say "downloading $address"
  fetch "$address" 600 "$PROGRAM" ||
    fail "$NO_DOWNLOAD" "$address could not be fetched whole; try again"
  compare_checksum "$published" "$(sha256_of "$PROGRAM")" "$address"
}

compare_checksum() {
  wanted=$(printf '%s' "$1" | tr 'A-F' 'a-f')
  if [ -n "$wanted" ] && [ "$wanted" != "$2" ]; then
    fail "$WRONG_CHECKSUM" "$3 has the checksum $2 instead of $wanted; nothing was changed"
  fi
}

# Runs the program before anything depends on it: one for another machine is found out here.
check_program() {
  chmod 755 "$PROGRAM"
  said=$("$PROGRAM" version 2>&1) ||
    fail "$UNSUPPORTED" "the program does not run on this host: $said"
  case $said in
    "$NAME "*) ;;
    *) fail "$UNSUPPORTED" "the program is not the agent; it says: $said" ;;
  esac
  if [ -n "$VERSION" ] && [ "$said" != "$NAME $VERSION" ]; then
    fail "$NO_SOURCE" "there is only $said, not the version $VERSION"
  fi
}

install_program() {
  if [ -z "$PROGRAM" ]; then
    return 0
  fi
  keep_previous "$TARGET"
  act "install the program as $TARGET" replace_file "$PROGRAM" "$TARGET" 755
  CHANGED=1
}

# Keeps what is there beside it, or that nothing is, until the agent has started with the new one,
# also when this script is interrupted before that; the next run goes on from it.
keep_previous() {
  if [ "$DRY_RUN" = 1 ]; then
    return 0
  fi
  UNDO=1
  if [ ! -f "$BEGUN" ] && ! last_start >"$BEGUN"; then
    fail "$NOT_WRITTEN" "could not write $BEGUN; check that its directory can be written"
  fi
  if [ -f "$1.hidps-previous" ] || [ -f "$1.hidps-absent" ]; then
    return 0
  fi
  if [ -f "$1" ]; then
    cp -p "$1" "$1.hidps-copy" && flush "$1.hidps-copy" &&
      mv -f "$1.hidps-copy" "$1.hidps-previous"
  else
    mkdir -p "$(dirname "$1")" && printf '' >"$1.hidps-absent"
  fi || fail "$NOT_WRITTEN" "could not write beside $1; check that its directory can be written"
}

# Has a file on the disk before it gets its name, so that no loss of power leaves an empty one there.
flush() { sync "$1" 2>/dev/null || sync; }

# The agent goes on with what there is now.
drop_previous() {
  UNDO=0
  for file in $FILES; do
    rm -f "$file.hidps-previous" "$file.hidps-absent"
  done
  rm -f "$BEGUN"
  rmdir "$DROP_INS" 2>/dev/null || true
}

# Removes what is left of a file when a run is ended in the middle of writing it.
sweep() {
  for file in $FILES; do
    rm -f "$file.hidps-new" "$file.hidps-copy"
  done
}

# Goes on from a run that was ended in its middle: what the agent has started with since is not put
# back any more, and with the rest it has to start.
settle() {
  if [ "$DRY_RUN" = 1 ]; then
    return 0
  fi
  sweep
  if [ -f "$BEGUN" ] && has_started_since; then
    drop_previous
  elif [ -f "$BEGUN" ]; then
    CHANGED=1
  fi
}

# Which start of the agent systemd saw last, and its process; nothing where it saw none.
last_start() {
  systemctl show -p InvocationID -p MainPID "$NAME" 2>/dev/null | grep -v -e '=$' -e '=0$' || true
}

# Whether the agent has started since the run that was interrupted began. One that does not run now
# has left its status, unless that is the last word of the one that ran before; one that is only
# being started has not.
has_started_since() {
  for mark in $(last_start); do
    if grep -qxF "$mark" "$BEGUN"; then
      return 1
    fi
  done
  case $(systemctl is-active "$NAME" 2>/dev/null) in
    active) ! runs_old_program ;;
    activating) return 1 ;;
    *) [ -n "$(status_writer)" ] && ! grep -qxF "MainPID=$(status_writer)" "$BEGUN" ;;
  esac
}

# The process that has written the agent's status since the run that was interrupted began.
status_writer() {
  find "$STATE_DIR/status.json" -type f -newer "$BEGUN" -exec \
    sed -n 's/^{[^{]*"process":\([0-9]*\)[^0-9].*/\1/p' {} + 2>/dev/null | head -n 1
}

# Puts a file in the place of another whole, or not at all, with a mode and a group.
replace_file() {
  if mkdir -p "$(dirname "$2")" && cp "$1" "$2.hidps-new" && chown "0:${4:-0}" "$2.hidps-new" &&
    chmod "$3" "$2.hidps-new" && flush "$2.hidps-new" && mv -f "$2.hidps-new" "$2"; then
    if has restorecon; then
      restorecon "$2" || true
    fi
    return 0
  fi
  rm -f "$2.hidps-new"
  return 1
}

# The agent reads its key by its group, and nobody else does at any moment.
replace_key() { (umask 077 && replace_file "$1" "$2" 640 "$(id -g "$ACCOUNT")"); }

install_account() {
  if [ "$PACKAGED" = 1 ] || id "$ACCOUNT" >/dev/null 2>&1; then
    return 0
  fi
  act "make the user $ACCOUNT, who cannot log in" add_account
}

add_account() {
  if has useradd; then
    useradd --system --user-group --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin "$ACCOUNT"
  else
    adduser -S -D -H -h /nonexistent -s /sbin/nologin "$ACCOUNT"
  fi
}

install_configuration() {
  if [ ! -d "$CONFIG_DIR" ]; then
    act "make the directory $CONFIG_DIR" mkdir -m 755 "$CONFIG_DIR"
  fi
  install_setting "the client certificate" "$CLIENT_CERT" "$CERTIFICATE" replace_file
  install_setting "its key" "$CLIENT_KEY" "$CERTIFICATE.key" replace_key
  if ! has_configuration; then
    install_setting "the certificate authority" "$CA_FILE" "$CONFIG_DIR/ca.pem" replace_file
  elif [ -z "$CLIENT_CERT" ] || [ -n "$(configured client_cert)" ]; then
    say "$CONFIG_DIR/agent.toml is kept as it is"
    install_token
    return 0
  fi
  keep_previous "$CONFIG_DIR/agent.toml"
  act "write $CONFIG_DIR/agent.toml for the agent $AGENT_ID and the daemon $BACKEND_URL" \
    write_configuration
  CHANGED=1
  install_token
}

# Takes a copy of a file for the agent, unless it has the same already.
install_setting() {
  if [ -z "$2" ] || [ "$2" = "$3" ] || cmp -s "$2" "$3"; then
    return 0
  fi
  keep_previous "$3"
  act "install $1 as $3" "$4" "$2" "$3" 644
  CHANGED=1
}

write_configuration() {
  new=$WORK/agent.toml
  {
    if ! has_configuration; then
      say_configuration
    fi
    if [ -n "$CLIENT_CERT" ]; then
      say "client_cert = \"$CERTIFICATE\""
      say "client_key = \"$CERTIFICATE.key\""
    fi
    if [ -e "$CONFIG_DIR/agent.toml" ]; then
      echo
      cat "$CONFIG_DIR/agent.toml"
    fi
  } >"$new" && replace_file "$new" "$CONFIG_DIR/agent.toml" 644
}

say_configuration() {
  say "# The HIDPS agent of this host; hidps-agent doctor says whether all is well."
  say "agent_id = \"$AGENT_ID\""
  say "backend_url = \"$BACKEND_URL\""
  if [ "$PLAINTEXT" = 1 ]; then
    say "allow_plaintext = true"
  fi
  if [ -n "$CA_FILE" ]; then
    say "ca_file = \"$CONFIG_DIR/ca.pem\""
  fi
  if [ "$SYSTEMD" -lt 247 ]; then
    say "# This systemd hands over no credentials."
    say "token_file = \"$CONFIG_DIR/token\""
  fi
}

# The unit hands over this file, so it is there even when there is no token.
install_token() {
  if [ -n "$TOKEN" ] && is_connected; then
    say "the agent is registered already; the token is not needed"
    TOKEN=
  fi
  # Of one that is there already no copy is made, as nobody needs two of them.
  if [ ! -e "$CONFIG_DIR/token" ]; then
    keep_previous "$CONFIG_DIR/token"
  fi
  if [ -n "$TOKEN" ]; then
    act "keep the enrollment token in $CONFIG_DIR/token for root alone" write_token
    CHANGED=1
  elif [ ! -e "$CONFIG_DIR/token" ]; then
    act "make the empty file $CONFIG_DIR/token for an enrollment token" write_token
  fi
}

write_token() {
  (umask 077 && printf '%s' "$TOKEN" >"$CONFIG_DIR/token.hidps-new") &&
    mv -f "$CONFIG_DIR/token.hidps-new" "$CONFIG_DIR/token"
}

install_unit() {
  if [ "$PACKAGED" = 1 ]; then
    return 0
  fi
  if [ "$DRY_RUN" = 1 ]; then
    say "would write $UNIT"
    return 0
  fi
  "$TARGET" unit --program "$TARGET" --for-systemd "$SYSTEMD" >"$WORK/unit" ||
    fail "$FAILED" "the program does not say what its unit is"
  if [ -f "$UNIT" ] && cmp -s "$WORK/unit" "$UNIT"; then
    return 0
  fi
  keep_previous "$UNIT"
  act "write $UNIT" replace_file "$WORK/unit" "$UNIT" 644
  CHANGED=1
}

# What the agent may do beyond its unit, each a drop-in of its own that the program prints.
install_drop_ins() {
  if [ "$SYSTEMD" -lt 231 ]; then
    if [ "$WITH_UFW" = 1 ]; then
      fail "$UNSUPPORTED" "systemd $SYSTEMD is too old for --with-ufw; 231 is the oldest"
    fi
    WITH_UFW=0
  fi
  if [ -z "$WITH_UFW" ] && is_ufw_enabled && [ ! -e "$DROP_INS/ufw.conf" ]; then
    if [ "$IS_FIRST" = 1 ]; then
      say "ufw filters on this host, so the agent filters by it, as root; --without-ufw keeps it" \
        "from that"
      WITH_UFW=1
    else
      say "ufw filters on this host; --with-ufw lets the agent filter by it"
    fi
  fi
  install_drop_in ufw "$WITH_UFW"
  install_drop_in file-actors "$WITH_FILE_ACTORS"
}

is_ufw_enabled() {
  has ufw && grep -Eqi '^[[:space:]]*ENABLED[[:space:]]*=[[:space:]]*"?yes"?[[:space:]]*$' \
    /etc/ufw/ufw.conf 2>/dev/null
}

# Whether a drop-in is there as a program like this one prints it.
is_drop_in_ours() { head -n 1 "$DROP_INS/$1.conf" 2>/dev/null | grep -q "\`$NAME unit --with $1\`"; }

# One that is there goes on unless it is asked for or not wanted any more.
install_drop_in() {
  drop_in=$DROP_INS/$1.conf
  case $2 in
    0)
      if is_drop_in_ours "$1"; then
        keep_previous "$drop_in"
        remove_file "$drop_in"
        CHANGED=1
      fi
      return 0
      ;;
    '')
      if ! is_drop_in_ours "$1"; then
        return 0
      fi
      ;;
  esac
  if [ -e "$drop_in" ] && ! is_drop_in_ours "$1"; then
    fail "$CONFLICT" "$drop_in is somebody else's; give it another name, or remove it"
  fi
  if [ "$DRY_RUN" = 1 ]; then
    say "would write $drop_in"
    return 0
  fi
  "$TARGET" unit --with "$1" >"$WORK/$1.conf" ||
    fail "$FAILED" "the program does not say what its drop-in for $1 is"
  if [ -f "$drop_in" ] && cmp -s "$WORK/$1.conf" "$drop_in"; then
    return 0
  fi
  keep_previous "$drop_in"
  act "write $drop_in" replace_file "$WORK/$1.conf" "$drop_in" 644
  CHANGED=1
}

start_agent() {
  if [ "$ENABLE" = 1 ] && ! systemctl is-enabled --quiet "$NAME" 2>/dev/null; then
    act "start the agent at every boot" systemctl --quiet enable "$NAME"
  fi
  if [ "$START" = 0 ]; then
    if [ "$DRY_RUN" = 0 ]; then
      # Nobody will be there to put anything back.
      drop_previous
    fi
    return 0
  fi
  if [ "$DRY_RUN" = 1 ]; then
    say "would start the agent, unless nothing changed, and wait until it is registered"
    return 0
  fi
  systemctl daemon-reload
  if [ "$CHANGED" = 0 ] && systemctl is-active --quiet "$NAME" && ! runs_old_program; then
    say "nothing changed; the agent goes on"
    drop_previous
    return 0
  fi
  systemctl reset-failed "$NAME" 2>/dev/null || true
  # Whoever interrupts it from here on does not know what runs; the next run finds out.
  UNDO=0
  if ! systemctl restart "$NAME" || ! systemctl is-active --quiet "$NAME"; then
    put_back
  fi
  drop_previous
}

# A run that was interrupted may have left an agent whose program was replaced under it.
runs_old_program() {
  id=$(systemctl show -p MainPID "$NAME" | cut -d = -f 2)
  case $(readlink "/proc/$id/exe" 2>/dev/null) in
    *' (deleted)') return 0 ;;
    *) return 1 ;;
  esac
}

# Makes everything as it was before, and says why.
put_back() {
  why=$(systemctl show -p Result "$NAME" | cut -d = -f 2)
  journalctl --sync 2>/dev/null || true
  journalctl -u "$NAME" -n 10 --no-pager -o cat >&2 2>/dev/null || true
  is_upgrade=0
  if [ -f "$TARGET.hidps-previous" ]; then
    is_upgrade=1
  fi
  # Otherwise systemd would go on trying.
  systemctl --quiet stop "$NAME" || true
  undo || fail "$NOT_WRITTEN" "the agent does not start ($why), and $stuck"
  systemctl reset-failed "$NAME" 2>/dev/null || true
  if [ -z "$undone" ]; then
    systemctl --no-block start "$NAME" || true
    fail "$NOT_STARTED" "the agent does not start ($why); see: journalctl -u $NAME"
  fi
  if [ ! -e "$TARGET" ]; then
    fail "$NOT_STARTED" "the agent does not start ($why), and is removed again:$undone;" \
      "$STATE_DIR and the user $ACCOUNT are left"
  fi
  after='the agent runs as before'
  if ! has_configuration; then
    after='the agent is not configured, as before'
  elif ! systemctl restart "$NAME" || ! systemctl is-active --quiet "$NAME"; then
    after='and the agent does not start with that either'
  fi
  if [ "$is_upgrade" = 1 ]; then
    fail "$NOT_STARTED" "the new agent does not start ($why); the old one is put back; $after"
  fi
  fail "$NOT_STARTED" "the agent does not start ($why) with what is new; put back:$undone; $after"
}

# Makes the files as they were, and systemd know it; what cannot be put back keeps nothing else from it.
undo() {
  undone='' stuck=''
  if [ -f "$UNIT.hidps-absent" ]; then
    systemctl --quiet disable "$NAME" 2>/dev/null || true
  fi
  for file in $FILES; do
    if [ -f "$file.hidps-previous" ]; then
      # A name is changed, which works on a full disk as well.
      mv -f "$file.hidps-previous" "$file"
    elif [ -f "$file.hidps-absent" ]; then
      rm -f "$file" && rm -f "$file.hidps-absent"
    else
      continue
    fi && undone="$undone $file" || stuck="$stuck $file"
  done
  rmdir "$DROP_INS" "$CONFIG_DIR" 2>/dev/null || true
  systemctl daemon-reload 2>/dev/null || true
  if [ -z "$stuck" ] && rm -f "$BEGUN"; then
    return 0
  fi
  stuck="could not put back:$stuck; what was there lies beside it as *.hidps-previous"
  return 1
}

is_connected() {
  [ -x "$TARGET" ] && has_configuration && "$TARGET" status --check >/dev/null 2>&1
}

# Waits for the daemon's word and says what to do next.
report() {
  if [ "$DRY_RUN" = 1 ]; then
    say "nothing was changed"
    return 0
  fi
  if [ "$START" = 0 ]; then
    say "the agent is installed; start it with: systemctl start $NAME"
    return 0
  fi
  left=$WAIT_SECONDS
  while :; do
    state=0
    "$TARGET" status --check >/dev/null 2>&1 || state=$?
    if [ "$state" = 0 ] || [ "$left" = 0 ]; then
      break
    fi
    # A person approves in minutes, if at all, and a refusal stays one: no use in waiting for that.
    if [ "$state" -ge 5 ] && [ "$left" -lt $((WAIT_SECONDS - 3)) ]; then
      break
    fi
    sleep 1
    left=$((left - 1))
  done
  case $state in
    0)
      # Whoever reads it later could enroll another host by it.
      if [ -s "$CONFIG_DIR/token" ]; then
        TOKEN=
        write_token || true
      fi
      say "registered: the agent $AGENT_ID is connected to $BACKEND_URL"
      say "next: $NAME status"
      ;;
    5)
      say "installed: an admin has to approve the agent $AGENT_ID; it connects by itself then"
      say "next: $NAME status"
      exit "$NOT_APPROVED"
      ;;
    *)
      "$TARGET" status 2>/dev/null | grep '^link' >&2 || true
      fail "$NOT_REGISTERED" "the agent runs and goes on trying; next: $NAME doctor"
      ;;
  esac
}

uninstall() {
  find_installation
  if [ "$PACKAGED" = 1 ]; then
    fail "$CONFLICT" "the agent is installed as a package; remove it with: apt-get remove $NAME, or purge"
  fi
  if [ -e "$UNIT" ]; then
    if [ -d /run/systemd/system ]; then
      act "stop the agent" systemctl --quiet stop "$NAME"
    fi
    act "start it at no boot any more" systemctl --quiet disable "$NAME"
  fi
  if [ -x "$TARGET" ]; then
    take_back_or_stay
  fi
  remove_file "$UNIT"
  remove_file "$TARGET"
  # What a run left that was interrupted.
  for file in $FILES; do
    for end in previous absent new copy; do
      remove_file "$file.hidps-$end"
    done
  done
  remove_file "$BEGUN"
  remove_drop_ins
  if [ -d /run/systemd/system ] && [ "$DRY_RUN" = 0 ]; then
    systemctl daemon-reload
    systemctl reset-failed "$NAME" 2>/dev/null || true
  fi
  if [ "$PURGE" = 1 ]; then
    purge
  else
    say "left: $CONFIG_DIR, $STATE_DIR with the key, and the user $ACCOUNT; --purge removes them"
  fi
}

remove_drop_ins() {
  for extra in ufw file-actors; do
    if is_drop_in_ours "$extra"; then
      remove_file "$DROP_INS/$extra.conf"
    fi
  done
  if [ -d "$DROP_INS" ] && [ "$DRY_RUN" = 0 ] && ! rmdir "$DROP_INS" 2>/dev/null; then
    say "left: $DROP_INS, which holds what somebody else made"
  fi
}

# What nothing could take back any more once the program is gone keeps it here, unless all has to go.
take_back_or_stay() {
  if [ "$DRY_RUN" = 1 ]; then
    say "would take back its firewall rules"
  elif ! take_back; then
    still="the agent's firewall rules are still there, or ufw is not as it was before the agent"
    if [ "$PURGE" = 0 ]; then
      fail "$NOT_WRITTEN" "$still; the agent is stopped, and its program stays to take them back:" \
        "mend what it said, then --uninstall again; --purge goes on all the same"
    fi
    printf 'install.sh: %s; see %s\n' "$still" \
      "nft list ruleset, ufw status, and $UFW_DIR/hidps-found.json with how ufw was" >&2
  fi
}

# The program knows what it made; a configuration with faults must not keep it here for ever.
take_back() {
  "$TARGET" withdraw && return 0
  if has nft && nft list table inet hidps >/dev/null 2>&1; then
    nft delete table inet hidps || return 1
  fi
  ! is_ufw_changed
}

# Whether ufw has rules of the agent's, by the comments it keeps in hexadecimal, or what the agent
# found there and has not put back. Whoever removed ufw has removed its rules.
is_ufw_changed() {
  has ufw || return 1
  [ -e "$UFW_DIR/hidps-found.json" ] || [ -e "$UFW_DIR/hidps-copies.json" ] ||
    grep -qs ' comment=68696470733a' "$UFW_DIR/user.rules" "$UFW_DIR/user6.rules" \
      /lib/ufw/user.rules /lib/ufw/user6.rules
}

purge() {
  for file in $SETTINGS; do
    remove_file "$file"
  done
  if [ -d "$CONFIG_DIR" ] && [ "$DRY_RUN" = 0 ] && ! rmdir "$CONFIG_DIR" 2>/dev/null; then
    say "left: $CONFIG_DIR, which holds more than the agent's files"
  fi
  if [ -L "$STATE_DIR" ]; then
    remove_file "$STATE_DIR"
  elif [ -d "$STATE_DIR" ]; then
    act "remove $STATE_DIR with the agent's key" rm -rf "$STATE_DIR"
  fi
  if id "$ACCOUNT" >/dev/null 2>&1; then
    act "remove the user $ACCOUNT" remove_account
  fi
  say "left: what the journal holds of the agent's own log"
}

remove_account() {
  if has userdel; then
    userdel "$ACCOUNT"
  else
    deluser "$ACCOUNT"
  fi
}

remove_file() {
  if [ -e "$1" ] || [ -L "$1" ]; then
    act "remove $1" rm -f "$1"
  fi
}

main "$@"; }
