# The distribution's series, unless another one and its repository are named.
case "${DIB_TROVE_SERIES:-${DIB_RELEASE:-}}" in
jammy | noble) DIB_TROVE_SERIES=8.0 ;;
resolute) DIB_TROVE_SERIES=8.4 ;;
# Of Debian, only unstable has a MySQL server.
unstable) DIB_TROVE_SERIES=9.7 ;;
esac
export DIB_TROVE_SERIES=${DIB_TROVE_SERIES:?such as 8.0: this element does not know the release\'s}
