//! Orders packed sequences by time step: step `t` has one row for each sequence of more than `t` tokens, longest
//! sequence first.
//!
//! A recurrent layer then advances all sequences by one token per step. As shorter sequences end, the state loses rows
//! at the end, so nothing is padded or masked. The backward direction reads each sequence from its end.

/// Row order by time step.
pub(super) struct TimeSteps {
    /// Rows of the packed batch, ordered by time step, `[T]`.
    pub rows: Vec<u32>,
    /// Number of rows of each time step, never increasing.
    pub sizes: Vec<usize>,
    /// Inverse of `rows`: index in that order of each row of the packed batch, `[T]`.
    pub places: Vec<u32>,
}

impl TimeSteps {
    pub fn new(cu_seqlens: &[u32], reversed: bool) -> Self {
        let mut sequences: Vec<(u32, u32)> = cu_seqlens.windows(2).map(|w| (w[0], w[1])).collect();
        sequences.sort_by_key(|(start, end)| std::cmp::Reverse(end - start));
        let total = cu_seqlens.last().map_or(0, |&n| n as usize);
        let (mut rows, mut sizes, mut places) = (Vec::with_capacity(total), Vec::new(), vec![0; total]);
        for t in 0..sequences.first().map_or(0, |(start, end)| end - start) {
            let before = rows.len();
            for &(start, end) in sequences.iter().take_while(|(start, end)| end - start > t) {
                let row = if reversed { end - 1 - t } else { start + t };
                places[row as usize] = rows.len() as u32;
                rows.push(row);
            }
            sizes.push(rows.len() - before);
        }
        Self { rows, sizes, places }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_when_lengths_differ_hold_the_sequences_that_go_on() {
        // Lengths 2, 0, 3, 1.
        let steps = TimeSteps::new(&[0, 2, 2, 5, 6], false);
        assert_eq!((steps.rows, steps.sizes), (vec![2, 0, 5, 3, 1, 4], vec![3, 2, 1]));
        let steps = TimeSteps::new(&[0, 2, 2, 5, 6], true);
        assert_eq!((steps.rows, steps.places), (vec![4, 1, 5, 3, 0, 2], vec![4, 1, 5, 3, 0, 2]));
        let steps = TimeSteps::new(&[0, 0], true);
        assert!(steps.rows.is_empty() && steps.sizes.is_empty() && steps.places.is_empty());
    }
}
