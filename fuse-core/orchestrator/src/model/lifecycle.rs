//! State machines of records: closed enums of states, and the arrows between them.

/// Makes the enum of the states of a record, with their names on the wire and the arrows of their state machine.
macro_rules! states {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$about:meta])* $state:ident = $text:tt,)+ }
        arrows { $($from:ident => $($to:ident)|+,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $text)] $state,)+
        }

        impl $name {
            /// Every state.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$state),+];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$state => $text,)+ }
            }

            /// Whether the state machine has an arrow from this state to `next`.
            #[must_use]
            pub const fn may_become(self, next: Self) -> bool {
                matches!((self, next), $((Self::$from, $(Self::$to)|+))|+)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// Gives a record with `id`, `state`, `reason` and `updated_at` the one way to change its state.
macro_rules! enters {
    ($record:ident, $state:ident) => {
        impl $record {
            /// Moves to `next`, for `reason`.
            ///
            /// # Errors
            /// [`IllegalTransition`](crate::IllegalTransition) when the state machine has no such arrow; nothing is
            /// changed then.
            pub fn enter(
                &mut self,
                next: $state,
                reason: $crate::model::Reason,
                now: $crate::model::Timestamp,
            ) -> Result<(), $crate::IllegalTransition<$state>> {
                if !self.state.may_become(next) {
                    return Err($crate::IllegalTransition {
                        id: self.id.to_string(),
                        from: self.state,
                        to: next,
                    });
                }
                self.state = next;
                self.reason = reason;
                self.updated_at = now;
                Ok(())
            }
        }
    };
}

pub(super) use {enters, states};
