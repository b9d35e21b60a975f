//! The macro that declares an ABI struct, asserts its layout and turns it into bytes and back.
//!
//! Declaring the offset beside each field keeps the ABI readable, and the assertion keeps it true.

/// A field of an ABI struct, stored in the byte order of the machine.
pub(crate) trait Field: Copy {
    fn put(self, out: &mut [u8]);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! integer_field {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_ne_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$integer>()];
                raw.copy_from_slice(bytes);
                <$integer>::from_ne_bytes(raw)
            }
        }
    )*};
}
integer_field!(u8, u16, u32, u64, i64);

/// Declares `struct Name: SIZE { field @ offset: type }`.
macro_rules! abi_struct {
    (
        $(#[$meta:meta])*
        $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $field:ident @ $offset:literal: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        const _: () = assert!(size_of::<$name>() == $size);
        $(const _: () = assert!(core::mem::offset_of!($name, $field) == $offset);)+

        impl $name {
            /// Returns the struct as the bytes the kernel reads.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut out = [0; $size];
                $($crate::layout::Field::put(
                    self.$field,
                    &mut out[$offset..$offset + size_of::<$type>()],
                );)+
                out
            }

            /// Reads the struct from the bytes the kernel wrote.
            #[must_use]
            pub fn from_bytes(bytes: [u8; $size]) -> $name {
                $name {
                    $($field: $crate::layout::Field::get(
                        &bytes[$offset..$offset + size_of::<$type>()],
                    ),)+
                }
            }
        }

        impl $crate::layout::Field for $name {
            fn put(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut raw = [0; $size];
                raw.copy_from_slice(bytes);
                $name::from_bytes(raw)
            }
        }
    };
}
pub(crate) use abi_struct;
