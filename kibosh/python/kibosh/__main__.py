from kibosh.cli import main

raise SystemExit(main())
