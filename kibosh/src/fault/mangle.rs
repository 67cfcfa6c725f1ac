//! Changing the data that a read or a write carries.
//!
//! The kernel may carry one write(2) in several pieces, so every choice is a function of a seed and
//! of the position in the file: whichever way the data is cut, the same bytes meet the same fate.

use std::ops::Range;

use super::spec::{CorruptMode, Survive};

#[derive(Debug, Clone, PartialEq)]
pub struct Mangle {
    how: How,
    seed: u64,
    /// Offset and length of the whole read or write; unknown ones take each piece as a whole.
    span: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq)]
enum How {
    Corrupt { mode: CorruptMode, fraction: f64 },
    Torn { unit: u64, survive: Survive },
    Flip { block_size: u64, bits: u32, fraction: f64 },
}

/// A well-mixed number out of two (splitmix64's finalizer).
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut value = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The same as a number from 0 up to, but not, 1.
pub fn chance(seed: u64, number: u64) -> f64 {
    (mix(seed, number) >> 11) as f64 / (1u64 << 53) as f64
}

impl Mangle {
    pub fn corrupt(mode: CorruptMode, fraction: f64, seed: u64, span: Option<(u64, u64)>) -> Self {
        Mangle { how: How::Corrupt { mode, fraction }, seed, span }
    }

    pub fn torn(unit: u64, survive: Survive, seed: u64, span: Option<(u64, u64)>) -> Self {
        Mangle { how: How::Torn { unit, survive }, seed, span }
    }

    /// `seed` must be the same on every read of a file.
    pub fn flip(block_size: u64, bits: u32, fraction: f64, seed: u64) -> Self {
        Mangle { how: How::Flip { block_size, bits, fraction }, seed, span: None }
    }

    /// Changes data that lies at `offset`; what is returned are the parts that are to be written.
    /// A reader sees the rest as zeros.
    pub fn apply(&self, offset: u64, data: &mut [u8]) -> Vec<Range<usize>> {
        let whole = 0..data.len();
        let (start, length) = self.span.unwrap_or((offset, data.len() as u64));
        let cut = || {
            let point = start + (chance(self.seed, u64::MAX) * length as f64) as u64;
            point.saturating_sub(offset).min(data.len() as u64) as usize
        };
        match &self.how {
            How::Corrupt { mode: CorruptMode::Zero, fraction } => {
                self.each_byte(offset, data, *fraction, |_| 0);
            }
            How::Corrupt { mode: CorruptMode::Random, fraction } => {
                self.each_byte(offset, data, *fraction, |random| random as u8);
            }
            How::Corrupt { mode: CorruptMode::ZeroTail, .. } => {
                let from = cut();
                data[from..].fill(0);
            }
            How::Corrupt { mode: CorruptMode::RandomTail, .. } => {
                let from = cut();
                self.each_byte(offset + from as u64, &mut data[from..], 1.0, |random| random as u8);
            }
            How::Corrupt { mode: CorruptMode::Drop, .. } => {
                return Vec::from([Range { start: 0, end: cut() }]);
            }
            How::Torn { unit, survive } => {
                return self.surviving(offset, whole, start, length, *unit, *survive);
            }
            How::Flip { block_size, bits, fraction } => {
                self.flip_bits(offset, data, *block_size, *bits, *fraction)
            }
        }
        vec![whole]
    }

    /// What a reader gets: the parts that are gone are zeros.
    pub fn apply_to_read(&self, offset: u64, data: &mut [u8]) {
        let mut from = 0;
        for kept in self.apply(offset, data) {
            data[from..kept.start].fill(0);
            from = kept.end;
        }
        data[from..].fill(0);
    }

    fn each_byte(&self, offset: u64, data: &mut [u8], fraction: f64, new: impl Fn(u64) -> u8) {
        for (at, byte) in data.iter_mut().enumerate() {
            let position = offset + at as u64;
            if chance(self.seed, position) < fraction {
                *byte = new(mix(!self.seed, position));
            }
        }
    }

    fn surviving(
        &self,
        offset: u64,
        whole: Range<usize>,
        start: u64,
        length: u64,
        unit: u64,
        survive: Survive,
    ) -> Vec<Range<usize>> {
        let units = length.div_ceil(unit).max(1);
        let kept_units = mix(self.seed, u64::MAX) % units;
        let survives = |index: u64| match survive {
            Survive::First => index < kept_units,
            Survive::Last => index >= units - kept_units,
            Survive::Random => mix(self.seed, index) & 1 == 0,
            Survive::None => false,
        };
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut at = whole.start;
        while at < whole.end {
            let index = (offset + at as u64).saturating_sub(start) / unit;
            let end = (start + (index + 1) * unit).saturating_sub(offset);
            let end = (end as usize).clamp(at + 1, whole.end);
            if survives(index) {
                match kept.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => kept.push(at..end),
                }
            }
            at = end;
        }
        kept
    }

    fn flip_bits(&self, offset: u64, data: &mut [u8], block_size: u64, bits: u32, fraction: f64) {
        let end = offset + data.len() as u64;
        for block in offset / block_size..end.div_ceil(block_size) {
            if chance(self.seed, block) >= fraction {
                continue;
            }
            let block_seed = mix(!self.seed, block);
            for bit in 0..bits {
                let place = mix(block_seed, bit.into()) % (block_size * 8);
                let position = block * block_size + place / 8;
                if (offset..end).contains(&position) {
                    data[(position - offset) as usize] ^= 1 << (place % 8);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies to the data in pieces, as the kernel may, and says what would stand in the file.
    fn written(mangle: &Mangle, data: &[u8], piece: usize) -> Vec<u8> {
        let mut file = vec![0xEE; data.len()];
        for (index, part) in data.chunks(piece).enumerate() {
            let (base, mut part) = (index * piece, part.to_vec());
            for kept in mangle.apply(1000 + base as u64, &mut part) {
                file[base + kept.start..base + kept.end].copy_from_slice(&part[kept]);
            }
        }
        file
    }

    #[test]
    fn the_fate_of_bytes_does_not_depend_on_how_the_write_is_cut() {
        let data: Vec<u8> = (0..4096u32).map(|at| (at % 251) as u8 | 1).collect();
        let span = Some((1000, data.len() as u64));
        let modes = [
            CorruptMode::Zero,
            CorruptMode::Random,
            CorruptMode::ZeroTail,
            CorruptMode::RandomTail,
            CorruptMode::Drop,
        ];
        let corrupts = modes.map(|mode| Mangle::corrupt(mode, 0.5, 7, span));
        let ways = [Survive::First, Survive::Last, Survive::Random, Survive::None];
        let torn = ways.map(|survive| Mangle::torn(512, survive, 7, span));
        for mangle in corrupts.iter().chain(&torn) {
            let whole = written(mangle, &data, data.len());
            assert_eq!(whole, written(mangle, &data, 100), "{mangle:?}");
            assert_ne!(whole, data, "{mangle:?}");
        }
    }

    #[test]
    fn a_torn_write_keeps_whole_units_of_its_beginning() {
        let mangle = Mangle::torn(512, Survive::First, 3, Some((0, 4096)));
        let kept = mangle.apply(0, &mut [1u8; 4096]);
        assert!(kept.is_empty() || (kept.len() == 1 && kept[0].start == 0 && kept[0].end % 512 == 0));
    }

    #[test]
    fn bit_flips_are_the_same_on_every_read() {
        let mangle = Mangle::flip(512, 1, 1.0, 99);
        let mut whole = vec![0u8; 2048];
        mangle.apply(0, &mut whole);
        assert_eq!(whole.iter().map(|byte| byte.count_ones()).sum::<u32>(), 4);
        let mut part = vec![0u8; 700];
        mangle.apply(300, &mut part);
        assert_eq!(part, whole[300..1000]);
    }

    #[test]
    fn half_of_the_bytes_is_about_half() {
        let mut data = vec![1u8; 10_000];
        Mangle::corrupt(CorruptMode::Zero, 0.5, 1, None).apply(0, &mut data);
        let zeros = data.iter().filter(|byte| **byte == 0).count();
        assert!((4_500..5_500).contains(&zeros), "{zeros}");
    }
}
