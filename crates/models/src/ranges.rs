//! Which bytes of a file are there: a set of half-open ranges, kept sorted and joined.

use std::ops::Range;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        let first = self.0.partition_point(|(_, e)| *e < start);
        let last = self.0.partition_point(|(s, _)| *s <= end);
        if let Some(touched) = self.0.get(first..last).filter(|touched| !touched.is_empty()) {
            start = start.min(touched[0].0);
            end = end.max(touched[touched.len() - 1].1);
        }
        self.0.splice(first..last.max(first), [(start, end)]);
    }

    /// Bytes that are there.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What lacks of `0..bytes`, cut into pieces of at most `piece` bytes. They are cut as they are asked for: how many there are is
    /// for whoever told the size to say.
    pub fn missing(&self, bytes: u64, piece: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let mut gaps = Vec::new();
        let mut at = 0;
        for (start, end) in self.0.iter().copied().chain([(bytes, bytes)]) {
            if at < start {
                gaps.push(at..start);
            }
            at = at.max(end);
        }
        gaps.into_iter().flat_map(move |gap| {
            let mut at = gap.start;
            std::iter::from_fn(move || {
                let start = at;
                at = gap.end.min(start.saturating_add(piece));
                (start < gap.end).then_some(start..at)
            })
        })
    }

    /// Sorted, apart from each other and within `0..bytes`: what a state that was read must be.
    pub fn is_sound(&self, bytes: u64) -> bool {
        self.0.iter().all(|(start, end)| start < end && *end <= bytes)
            && self.0.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_where_they_touch() {
        type Pairs = &'static [(u64, u64)];
        let rows: [(Pairs, Pairs); 6] = [
            (&[(0, 5), (5, 9)], &[(0, 9)]),
            (&[(5, 9), (0, 4)], &[(0, 4), (5, 9)]),
            (&[(0, 2), (4, 6), (8, 9), (1, 8)], &[(0, 9)]),
            (&[(3, 3)], &[]),
            (&[(0, 9), (2, 3)], &[(0, 9)]),
            (&[(10, 12), (0, 1), (4, 5), (5, 6)], &[(0, 1), (4, 6), (10, 12)]),
        ];
        for (added, expected) in rows {
            let mut ranges = Ranges::default();
            added.iter().for_each(|(start, end)| ranges.add(*start..*end));
            assert_eq!(ranges.0, expected, "{added:?}");
            assert!(ranges.is_sound(12));
        }
    }

    #[test]
    fn what_is_missing_is_cut_into_pieces() {
        let mut ranges = Ranges::default();
        ranges.add(3..5);
        let missing = |bytes, piece| ranges.missing(bytes, piece).collect::<Vec<_>>();
        assert_eq!(missing(10, 4), [0..3, 5..9, 9..10]);
        assert_eq!(missing(5, 2), [0..2, 2..3]);
        assert_eq!(Ranges::default().missing(0, 4).count(), 0);
        // more pieces than memory holds, and an end behind which nothing can be counted
        assert_eq!(ranges.missing(u64::MAX, 1).nth(3), Some(5..6));
        assert_eq!(ranges.missing(u64::MAX, u64::MAX - 1).last(), Some(5..u64::MAX));
        assert_eq!(ranges.bytes(), 2);
        assert!(!ranges.is_sound(4));
        assert!(!Ranges(vec![(4, 6), (0, 2)]).is_sound(9));
    }
}
