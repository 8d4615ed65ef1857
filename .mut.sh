mut() { cp $1 .orig; sed -i "$2" $1; if cmp -s $1 .orig; then echo "NO CHANGE $2"; fi; timeout 300 .venv/bin/python -m pytest tests/property/test_turns.py -q -x 2>&1 | tail -2; cp .orig $1; rm .orig; echo "--- $2"; }
mut manager_api/controller/turns.py 's/        if epoch != self._epoch():/        if False:/'
mut manager_api/controller/turns.py 's/self._late |= self._grants.read(part)/pass/'
mut manager_api/controller/turns.py 's/return state.settled and not state.online/return not state.online/'
