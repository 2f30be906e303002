"""What the simulated shop sells: categories with their words, prices, seasons and needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Category:
    """One leaf of the category tree.

    Attributes:
        path: "department > category".
        share: weight among all categories, of the catalogue and of demand.
        price: median, in the shop's currency.
        materials, forms, nouns: a title takes one of each.
        goes_with: path of the category that baskets add to this one.
        cycle_days: median days until a user needs it again; 0 for what is bought once.
        peak_day: day of the year when demand is highest.
        swing: half the logarithm of highest over lowest demand; 0 for none.
    """

    path: str
    share: float
    price: float
    materials: tuple[str, ...]
    forms: tuple[str, ...]
    nouns: tuple[str, ...]
    goes_with: str
    cycle_days: float = 0.0
    peak_day: int = 0
    swing: float = 0.0

    @property
    def department(self) -> str:
        """The first part of the path."""
        return self.path.split(" > ")[0]

    @property
    def variants(self) -> tuple[str, ...]:
        """What a title ends with."""
        return SIZES if self.cycle_days or self.path in _WITHOUT_COLOUR else COLOURS


def _category(
    path: str, share: float, price: float, words: str, goes_with: str,
    cycle_days: float = 0.0, peak_day: int = 0, swing: float = 0.0,
) -> Category:  # fmt: skip
    """A row of the table; words are "materials / forms / nouns", each a list with commas."""
    materials, forms, nouns = (tuple(word.strip() for word in part.split(",")) for part in words.split("/"))
    return Category(path, share, price, materials, forms, nouns, goes_with, cycle_days, peak_day, swing)


# fmt: off
CATEGORIES: tuple[Category, ...] = (
    _category("Kitchen > Boards", 3, 32, "Oak, Walnut, Olive Wood, Bamboo, Slate, Marble / Serving, Carving, Chopping, "
              "Cheese, Bread / Board, Block, Platter, Paddle", "Kitchen > Tableware"),
    _category("Kitchen > Cookware", 4, 58, "Cast Iron, Copper, Steel, Enamel, Ceramic / Deep, Shallow, Heavy, "
              "Everyday, Covered / Pan, Casserole, Saucepan, Wok, Roaster", "Kitchen > Boards"),
    _category("Kitchen > Tableware", 5, 18, "Stoneware, Porcelain, Glass, Earthenware / Dinner, Breakfast, Pasta, "
              "Speckled, Fluted / Plate, Bowl, Mug, Tumbler, Jug", "Kitchen > Boards", 0, 345, 0.4),
    _category("Kitchen > Coffee Gear", 2, 44, "Steel, Glass, Ceramic, Copper / Pour-Over, Burr, Travel, Stovetop / "
              "Dripper, Grinder, Kettle, Press, Filter Set", "Food > Coffee"),
    _category("Food > Coffee", 5, 13, "Ethiopian, Colombian, Guatemalan, Kenyan, Sumatran / Light Roast, Dark Roast, "
              "Decaf, Espresso / Beans, Ground Coffee, Capsules", "Food > Snacks", 18),
    _category("Food > Tea", 4, 9, "Darjeeling, Assam, Sencha, Rooibos, Mint, Chamomile / Loose Leaf, Pyramid, Iced, "
              "Smoked / Tea, Blend, Infusion", "Food > Snacks", 26, 15, 0.5),
    _category("Food > Snacks", 6, 5, "Almond, Sea Salt, Dark Chocolate, Oat, Rosemary / Roasted, Crunchy, Organic, "
              "Mini / Crackers, Biscuits, Nuts, Bars, Crisps", "Food > Tea", 12),
    _category("Food > Pantry", 4, 8, "Extra Virgin, Wholegrain, Wild, Smoked, Organic / Italian, Greek, Basque, Stone "
              "Milled / Olive Oil, Pasta, Honey, Rice, Flour", "Food > Snacks", 32),
    _category("Home > Bedding", 4, 64, "Linen, Percale, Flannel, Bamboo, Merino / Washed, Striped, Quilted, Plain / "
              "Duvet Cover, Pillowcase, Sheet Set, Throw", "Home > Candles", 0, 330, 0.4),
    _category("Home > Candles", 3, 19, "Cedar, Fig, Vanilla, Sandalwood, Orange Blossom / Pillar, Scented, Travel, Soy "
              "/ Candle, Diffuser, Wax Melts", "Home > Lighting", 36, 350, 0.8),
    _category("Home > Lighting", 3, 72, "Brass, Rattan, Opal Glass, Concrete, Paper / Table, Floor, Pendant, Reading / "
              "Lamp, Light, Shade, Lantern", "Home > Candles", 0, 340, 0.5),
    _category("Home > Storage", 4, 24, "Wicker, Felt, Steel, Pine, Canvas / Stacking, Folding, Lidded, Under-Bed / "
              "Basket, Box, Crate, Shelf, Hook Rail", "Office > Desk"),
    _category("Clothing > Sweaters", 5, 69, "Merino, Cashmere, Lambswool, Cotton, Alpaca / Crew, Roll-Neck, Cable, "
              "Ribbed / Sweater, Cardigan, Vest", "Clothing > Trousers", 0, 335, 1.1),
    _category("Clothing > T-Shirts", 7, 22, "Organic Cotton, Slub, Pima, Hemp, Jersey / Striped, Boxy, Long-Sleeve, "
              "Pocket, Printed / T-Shirt, Tee, Top", "Clothing > Trousers", 0, 185, 0.9),
    _category("Clothing > Trousers", 5, 56, "Denim, Corduroy, Twill, Linen, Wool / Slim, Wide-Leg, Tapered, Pleated / "
              "Trousers, Jeans, Chinos, Shorts", "Clothing > T-Shirts"),
    _category("Clothing > Socks", 5, 9, "Merino, Bamboo, Cotton, Cashmere / Ankle, Boot, Ribbed, Sport / Socks, "
              "Tights, Sock Set", "Clothing > Trousers", 0, 350, 0.4),
    _category("Beauty > Skin Care", 5, 27, "Rose, Aloe, Oat, Vitamin C, Green Tea / Daily, Night, Gentle, Hydrating / "
              "Serum, Cream, Cleanser, Face Oil", "Beauty > Hair Care", 42),
    _category("Beauty > Hair Care", 4, 14, "Argan, Coconut, Rosemary, Keratin, Nettle / Repairing, Volume, Daily, Curl "
              "/ Shampoo, Conditioner, Hair Mask", "Beauty > Skin Care", 30),
    _category("Beauty > Fragrance", 2, 66, "Bergamot, Vetiver, Neroli, Amber, Iris / Fresh, Smoky, Woody, Powdery / "
              "Eau de Parfum, Cologne, Body Mist", "Beauty > Skin Care", 0, 350, 0.9),
    _category("Sports > Running", 4, 62, "Mesh, Merino, Reflective, Gore / Trail, Road, Race, Winter / Shoes, Jacket, "
              "Shorts, Belt", "Sports > Nutrition", 0, 120, 0.5),
    _category("Sports > Camping", 3, 84, "Ripstop, Down, Titanium, Canvas / Ultralight, Two-Person, Family, Compact / "
              "Tent, Sleeping Bag, Stove, Backpack, Mat", "Sports > Running", 0, 180, 1.2),
    _category("Sports > Yoga", 2, 36, "Cork, Rubber, Jute, Cotton / Travel, Thick, Non-Slip, Aligned / Mat, Block, "
              "Bolster, Strap", "Sports > Nutrition", 0, 10, 0.6),
    _category("Sports > Nutrition", 4, 24, "Whey, Pea, Cocoa, Berry, Citrus / Recovery, Energy, Vegan, Isotonic / "
              "Protein, Gel Pack, Bars, Drink Mix", "Sports > Running", 22),
    _category("Pets > Dog Food", 4, 31, "Salmon, Lamb, Chicken, Duck, Venison / Grain-Free, Puppy, Senior, Large Breed "
              "/ Kibble, Stew, Treats", "Pets > Toys", 20),
    _category("Pets > Cat Food", 4, 17, "Tuna, Turkey, Chicken, Rabbit / Indoor, Kitten, Senior, Sterilised / Pate, "
              "Kibble, Treats, Chunks", "Pets > Toys", 16),
    _category("Pets > Toys", 2, 11, "Rope, Rubber, Plush, Sisal / Squeaky, Chew, Puzzle, Feather / Toy, Ball, Bone, "
              "Teaser", "Pets > Dog Food"),
    _category("Kids > Toys", 5, 26, "Wooden, Felt, Plush, Magnetic / Stacking, Pull-Along, Farm, Space / Blocks, "
              "Train, Puzzle, Bear, Kitchen", "Kids > Books", 0, 345, 1.3),
    _category("Kids > Books", 4, 10, "Illustrated, Pop-Up, Board, Bedtime / Animal, Pirate, Counting, Garden / Book, "
              "Stories, Atlas, Colouring Book", "Kids > Toys", 0, 345, 0.7),
    _category("Kids > Baby Care", 3, 15, "Bamboo, Cotton, Oat, Calendula / Newborn, Sensitive, Overnight / Nappies, "
              "Wipes, Wash, Lotion", "Kids > Toys", 14),
    _category("Garden > Plants", 3, 17, "Lavender, Fern, Olive, Monstera, Fig / Potted, Hanging, Dwarf, Hardy / Plant, "
              "Tree, Seeds, Bulbs", "Garden > Tools", 0, 115, 1.3),
    _category("Garden > Tools", 2, 34, "Ash, Steel, Copper, Galvanised / Hand, Border, Long-Handled, Folding / Trowel, "
              "Fork, Pruner, Watering Can", "Garden > Plants", 0, 115, 1.1),
    _category("Office > Paper", 3, 12, "Recycled, Cotton, Leather, Kraft / Dotted, Ruled, Weekly, Pocket / Notebook, "
              "Planner, Journal, Card Set", "Office > Desk", 0, 245, 0.7),
    _category("Office > Desk", 2, 39, "Walnut, Aluminium, Cork, Felt / Adjustable, Slim, Modular, Wireless / Stand, "
              "Organiser, Desk Mat, Charger", "Office > Paper", 0, 245, 0.5),
)
# fmt: on

# Four brands for each department, in the order of DEPARTMENTS.
DEPARTMENTS = tuple(dict.fromkeys(category.department for category in CATEGORIES))
# fmt: off
BRANDS = (
    "Hearthline", "Copperfield", "Maro", "Tavola", "Millbrook", "Ostra", "Goodfold", "Sunmill",
    "Halden", "Lumen & Co", "Casa Nord", "Wren", "Fjell", "Atelier Roux", "Plainweave", "Tern",
    "Velva", "Aurelle", "Botanist", "Kind Lab", "Striders", "Summit", "Kairo", "Pace",
    "Barkley", "Whisker", "Paw & Co", "Tailor", "Pippin", "Little Oak", "Bramble", "Toto",
    "Greenhand", "Fernway", "Orchard", "Spade & Sons", "Inkwell", "Form", "Graphite", "Ledger",
)
# fmt: on
BRANDS_PER_DEPARTMENT = 4

COLOURS = ("Sage", "Ivory", "Charcoal", "Rust", "Navy", "Clay", "Ochre", "Blush", "Forest", "Sand", "Plum", "Sky")
SIZES = ("Small", "Large", "Twin Pack", "Set of Three", "Family Size", "Gift Box", "Travel Size", "Refill")
_WITHOUT_COLOUR = frozenset({"Kids > Books", "Garden > Plants", "Beauty > Fragrance"})

COUNTRIES = ("GB", "DE", "FR", "NL", "IE", "ES", "SE", "IT", "PL", "US")
COUNTRY_SHARES = (38, 17, 11, 8, 6, 5, 5, 4, 3, 3)
AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55+")
