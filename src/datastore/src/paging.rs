//! Pagination as the control plane asks for it.

/// Which part of a sorted list is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many items; absent means all.
    pub limit: Option<u32>,
    /// Start after this item (or at it, with `include_marker`).
    pub marker: Option<String>,
    /// Whether the item equal to the marker belongs to the page.
    pub include_marker: bool,
}

/// One page; on the wire it is the pair `[items, next_marker]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Marker of the last item when more follow.
    pub next_marker: Option<String>,
}

impl<T> Page<T> {
    /// Cuts `items`, fetched with one more than `limit`, down to a page and
    /// derives the next marker from its last item.
    pub fn cut(mut items: Vec<T>, limit: Option<u32>, marker_of: impl Fn(&T) -> String) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_marker = if more {
            items.last().map(marker_of)
        } else {
            None
        };
        Self { items, next_marker }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_has_no_next_marker() {
        let page = Page::cut(vec![1, 2], Some(2), |n| n.to_string());
        assert_eq!(
            page,
            Page {
                items: vec![1, 2],
                next_marker: None
            }
        );
    }

    #[test]
    fn the_next_marker_is_the_last_item_returned() {
        let page = Page::cut(vec![1, 2, 3], Some(2), |n| n.to_string());
        assert_eq!(
            page,
            Page {
                items: vec![1, 2],
                next_marker: Some("2".into())
            }
        );
    }

    #[test]
    fn no_limit_returns_everything() {
        assert_eq!(
            Page::cut(vec![1, 2, 3], None, |n| n.to_string())
                .items
                .len(),
            3
        );
    }
}
