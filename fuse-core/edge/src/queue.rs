//! A binary heap of slots that knows where each slot is: any slot can be moved or removed in `O(log n)`,
//! and nothing is allocated once the capacity is there.

use alloc::vec::Vec;

const ABSENT: u32 = u32::MAX;

/// Slots ordered by a key, least first. A slot is in the queue at most once.
#[derive(Debug)]
pub(crate) struct SlotQueue<K> {
    heap: Vec<(K, u32)>,
    /// Where each slot is in the heap.
    position: Vec<u32>,
}

impl<K: Ord + Copy> SlotQueue<K> {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), position: Vec::new() }
    }

    /// Makes room, so that slots `0..slots` can be queued without allocation.
    pub(crate) fn reserve(&mut self, slots: usize) {
        if self.position.len() < slots {
            self.position.resize(slots, ABSENT);
            self.heap.reserve(slots.saturating_sub(self.heap.len()));
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<(K, u32)> {
        self.heap.first().copied()
    }

    #[inline]
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.position.get(slot as usize).is_some_and(|p| *p != ABSENT)
    }

    /// Puts the slot in, or moves it to its new key. Room must have been [reserved](Self::reserve).
    #[inline]
    pub(crate) fn put(&mut self, slot: u32, key: K) {
        match self.position[slot as usize] {
            ABSENT => {
                self.heap.push((key, slot));
                let last = self.heap.len() - 1;
                self.position[slot as usize] = last as u32;
                self.up(last);
            }
            at => {
                let place = &mut self.heap[at as usize].0;
                if *place == key {
                    return;
                }
                *place = key;
                let at = self.up(at as usize);
                self.down(at);
            }
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(K, u32)> {
        let first = self.peek()?;
        self.remove_at(0);
        Some(first)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        match self.position.get(slot as usize) {
            None | Some(&ABSENT) => false,
            Some(&at) => {
                self.remove_at(at as usize);
                true
            }
        }
    }

    fn remove_at(&mut self, at: usize) {
        let (_, slot) = self.heap.swap_remove(at);
        self.position[slot as usize] = ABSENT;
        if at < self.heap.len() {
            self.position[self.heap[at].1 as usize] = at as u32;
            let at = self.up(at);
            self.down(at);
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.position[self.heap[a].1 as usize] = a as u32;
        self.position[self.heap[b].1 as usize] = b as u32;
    }

    fn up(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent].0 <= self.heap[at].0 {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
        at
    }

    fn down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let Some(&(left_key, _)) = self.heap.get(left) else { return };
            let child = match self.heap.get(left + 1) {
                Some(&(right_key, _)) if right_key < left_key => left + 1,
                _ => left,
            };
            if self.heap[at].0 <= self.heap[child].0 {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Put(u32, u8),
        Remove(u32),
        Pop,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..20u32, any::<u8>()).prop_map(|(slot, key)| Op::Put(slot, key)),
            (0..20u32).prop_map(Op::Remove),
            Just(Op::Pop),
        ]
    }

    proptest! {
        /// Against a map: the queue holds the same slots and gives the least key first.
        #[test]
        fn behaves_as_a_sorted_map(ops in proptest::collection::vec(op(), 0..200)) {
            let mut queue = SlotQueue::new();
            queue.reserve(20);
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Put(slot, key) => {
                        queue.put(slot, (key, slot));
                        model.insert(slot, (key, slot));
                    }
                    Op::Remove(slot) => prop_assert_eq!(queue.remove(slot), model.remove(&slot).is_some()),
                    Op::Pop => {
                        let least = model.values().min().copied();
                        if let Some((_, slot)) = least {
                            model.remove(&slot);
                        }
                        prop_assert_eq!(queue.pop().map(|(key, _)| key), least);
                    }
                }
                prop_assert_eq!(queue.peek().map(|(key, _)| key), model.values().min().copied());
                for slot in 0..20 {
                    prop_assert_eq!(queue.contains(slot), model.contains_key(&slot));
                }
            }
        }
    }
}
