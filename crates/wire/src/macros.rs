//! What a message is made of, said once: fields in their order on the wire, then what may follow them.

/// Declares a message: a struct whose fields are written one after the other, of this type number.
macro_rules! message {
    (
        $(#[$doc:meta])*
        $name:ident = $kind:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::codec::Wire for $name {
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::Error> {
                Ok(Self { $($field: reader.read()?,)* })
            }

            fn write(&self, writer: &mut $crate::codec::Writer) {
                $(writer.write(&self.$field);)*
            }
        }

        impl $crate::message::Payload for $name {
            const KIND: u16 = $kind;
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(dice: &mut $crate::sample::Dice) -> Self {
                Self { $($field: $crate::sample::Sample::sample(dice),)* }
            }
        }
    };
}

/// Declares the TLV stream that ends a message.
macro_rules! extension {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $kind:literal => $field:ident: $type:ty,)* }) => {
        $crate::tlv_stream! {
            $(#[$doc])*
            pub struct $name { $($(#[$field_doc])* $kind => $field: $type,)* }
        }

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(dice: &mut $crate::sample::Dice) -> Self {
                Self {
                    $($field: dice.flip().then(|| $crate::sample::Sample::sample(dice)),)*
                    unknown: $crate::sample::Sample::sample(dice),
                }
            }
        }
    };
}

/// Declares values that are fields in a row, inside a message or a record.
macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::codec::Wire for $name {
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::error::Error> {
                Ok(Self { $($field: reader.read()?,)* })
            }

            fn write(&self, writer: &mut $crate::codec::Writer) {
                $(writer.write(&self.$field);)*
            }
        }

        $crate::tlv::plain_records!($name);

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(dice: &mut $crate::sample::Dice) -> Self {
                Self { $($field: $crate::sample::Sample::sample(dice),)* }
            }
        }
    };
}
