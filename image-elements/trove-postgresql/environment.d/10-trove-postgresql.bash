# The distribution's series, unless another one and its repository are named.
case "${DIB_TROVE_SERIES:-${DIB_RELEASE:-}}" in
bookworm) DIB_TROVE_SERIES=15 ;;
trixie) DIB_TROVE_SERIES=17 ;;
jammy) DIB_TROVE_SERIES=14 ;;
noble) DIB_TROVE_SERIES=16 ;;
esac
export DIB_TROVE_SERIES=${DIB_TROVE_SERIES:?such as 17: this element does not know the release\'s}
