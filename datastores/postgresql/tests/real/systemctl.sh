#!/bin/sh
# Answers as systemctl does for one unit, the server in the directory of this
# script: DIR/systemctl VERB ...
dir=$(dirname "$0")
. "$dir/systemctl.conf" # postgres, config, uid, gid

pid() { cat "$dir/main.pid" 2>/dev/null; }
alive() { p=$(pid) && [ -n "$p" ] && kill -0 "$p" 2>/dev/null; }

start() {
    alive && return 0
    if [ -e "$dir/refuse-start" ]; then
        rm -f "$dir/refuse-start" "$dir/main.pid"
        echo failed >"$dir/wanted"
        return 1
    fi
    echo up >"$dir/wanted"
    setsid setpriv --reuid "$uid" --regid "$gid" --clear-groups -- \
        "$postgres" -c "config_file=$config" </dev/null >>"$dir/server.log" 2>&1 &
    echo $! >"$dir/main.pid"
    # Type=notify: up when it says so.
    while alive; do
        status=$(sed -n 8p "$data/postmaster.pid" 2>/dev/null)
        case "$(sed -n 1p "$data/postmaster.pid" 2>/dev/null)/$status" in
        "$(pid)/ready"*) return 0 ;;
        esac
        sleep 0.05
    done
    rm -f "$dir/main.pid"
    echo failed >"$dir/wanted"
    return 1
}

stop() {
    echo down >"$dir/wanted"
    alive || return 0
    # Again and again: until it is the server, it does not listen.
    while alive; do
        kill -INT "$(pid)" 2>/dev/null
        sleep 0.05
    done
    rm -f "$dir/main.pid"
}

case "$1" in
start) start ;;
stop) stop ;;
restart) stop && start ;;
enable) touch "$dir/enabled" ;;
disable) rm -f "$dir/enabled" ;;
reset-failed) echo down >"$dir/wanted" ;;
show)
    state=inactive sub=dead main=0
    if alive; then
        state=active sub=running main=$(pid)
    elif [ "$(cat "$dir/wanted" 2>/dev/null)" != down ] && [ -e "$dir/wanted" ]; then
        state=failed sub=failed
    fi
    enabled=disabled
    [ -e "$dir/enabled" ] && enabled=enabled
    printf 'ActiveState=%s\nSubState=%s\nResult=success\nMainPID=%s\nLoadState=loaded\nUnitFileState=%s\n' \
        "$state" "$sub" "$main" "$enabled"
    ;;
*) exit 1 ;;
esac
