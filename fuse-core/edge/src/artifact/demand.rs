//! What memory an instance of a module starts with, so that a budget is known before anything is made of it.

/// The linear memory and the tables that an instance starts with. In an artifact it is one word: pages plus one in
/// the low 17 bits, units of 64 table elements plus one in the rest; 0 in either means that it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Pages of 64 KiB of linear memory (0..=65536); `None` when not known.
    pub memory_pages: Option<u32>,
    /// Elements of all tables together, rounded up to a multiple of 64; `None` when not known, or more than two million.
    pub table_elements: Option<u32>,
}

const PAGE_BITS: u32 = 17;
const TABLE_UNIT: u32 = 64;

impl Demand {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { memory_pages: None, table_elements: None };

    pub(crate) const fn from_raw(raw: u32) -> Self {
        let units = (raw >> PAGE_BITS).checked_sub(1);
        Self {
            memory_pages: (raw & ((1 << PAGE_BITS) - 1)).checked_sub(1),
            table_elements: match units {
                Some(units) => Some(units * TABLE_UNIT),
                None => None,
            },
        }
    }

    pub(crate) fn to_raw(self) -> u32 {
        let pages = self.memory_pages.filter(|p| *p <= 65_536).map_or(0, |p| p + 1);
        let units = self.table_elements.map(|e| e.div_ceil(TABLE_UNIT) + 1);
        let units = units.filter(|u| *u < 1 << (32 - PAGE_BITS)).unwrap_or(0);
        units << PAGE_BITS | pages
    }

    /// What a module says in its table and memory sections. It has been validated; what cannot be read is not known.
    #[cfg(feature = "compiler")]
    pub(crate) fn of_wasm(wasm: &[u8]) -> Self {
        read_sections(wasm).unwrap_or(Self::UNKNOWN)
    }
}

/// Reads a module that the engine has validated.
#[cfg(feature = "compiler")]
struct Wasm<'a>(&'a [u8]);

#[cfg(feature = "compiler")]
impl<'a> Wasm<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u32> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok();
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<Self> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Wasm(taken))
    }

    /// The minimum of a limits entry; its maximum is skipped.
    fn limits(&mut self) -> Option<u32> {
        let flags = self.byte()?;
        let minimum = self.number()?;
        if flags & 1 != 0 {
            self.number()?;
        }
        Some(minimum)
    }
}

#[cfg(feature = "compiler")]
fn read_sections(wasm: &[u8]) -> Option<Demand> {
    const TABLES: u8 = 4;
    const MEMORIES: u8 = 5;
    let mut module = Wasm(wasm);
    module.take(8)?;
    let (mut pages, mut elements) = (0u32, 0u32);
    while !module.0.is_empty() {
        let id = module.byte()?;
        let len = module.number()? as usize;
        let mut section = module.take(len)?;
        if id != TABLES && id != MEMORIES {
            continue;
        }
        for _ in 0..section.number()? {
            if id == MEMORIES {
                pages = pages.checked_add(section.limits()?)?;
            } else {
                // A table with an initialiser, or of a type of more than one byte, is not read.
                section.byte().filter(|t| matches!(t, 0x70 | 0x6f))?;
                elements = elements.checked_add(section.limits()?)?;
            }
        }
    }
    Some(Demand { memory_pages: Some(pages), table_elements: Some(elements) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_word() {
        for (pages, elements) in [(0, 0), (1, 64), (65_536, 2_097_024), (62, 65_536)] {
            let demand = Demand { memory_pages: Some(pages), table_elements: Some(elements) };
            assert_eq!(Demand::from_raw(demand.to_raw()), demand);
        }
        assert_eq!(Demand::from_raw(0), Demand::UNKNOWN);
        let huge = Demand { memory_pages: Some(1), table_elements: Some(u32::MAX) };
        assert_eq!(Demand::from_raw(huge.to_raw()).table_elements, None);
    }

    #[cfg(feature = "compiler")]
    #[test]
    fn reads_what_modules_say() {
        let demand = |text: &str| Demand::of_wasm(&wat::parse_str(text).unwrap());
        let none = Demand { memory_pages: Some(0), table_elements: Some(0) };
        assert_eq!(demand("(module)"), none);
        let both = "(module (table 10 funcref) (table 300 400 externref) (memory 3 9) (func))";
        assert_eq!(demand(both), Demand { memory_pages: Some(3), table_elements: Some(310) });
    }
}
