//! Room for data that begins where a page does: the kernel takes fewer pages, and `O_DIRECT` needs it.

const PAGE: usize = 4096;

pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Room for `before` bytes (at most a page), and then from the beginning of a page for `size`.
    pub fn new(before: usize, size: usize) -> Self {
        let bytes = vec![0; size + 2 * PAGE];
        let first_page = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Aligned { start: first_page + PAGE - before.min(PAGE), bytes }
    }

    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_behind_its_head_begins_a_page() {
        let mut room = Aligned::new(80, 10_000);
        assert_eq!(room.room()[80..].as_ptr() as usize % PAGE, 0);
        assert!(room.room().len() >= 10_080);
    }
}
