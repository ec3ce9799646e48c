# The distribution's series, unless another one and its repository are named.
case "${DIB_TROVE_SERIES:-${DIB_RELEASE:-}}" in
trixie) DIB_TROVE_SERIES=11.8 ;;
bookworm | noble) DIB_TROVE_SERIES=10.11 ;;
jammy) DIB_TROVE_SERIES=10.6 ;;
esac
export DIB_TROVE_SERIES=${DIB_TROVE_SERIES:?such as 11.8: this element does not know the release\'s}
